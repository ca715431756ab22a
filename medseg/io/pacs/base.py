"""What medseg asks of a PACS, whichever protocol it speaks: find series, fetch one, store a segmentation."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset

from medseg.errors import MedsegError

SCAN_MODALITIES = ("CT", "MR", "PT")
"""What is fetched when the query names no modality."""


class PacsError(MedsegError):
    """The server cannot be reached, or does not do what it was asked for."""


class StorageRefusedError(PacsError):
    """The server does not take this kind of object; another kind may be taken."""


@dataclass(frozen=True)
class Query:
    """Which series are wanted; what is empty does not matter.

    Attributes:
        patient: PatientID.
        study: StudyInstanceUID.
        modality: such as ``MR``.
        date: of the study, ``YYYYMMDD`` or a range ``YYYYMMDD-YYYYMMDD`` (either end may be left open).
    """

    patient: str = ""
    study: str = ""
    modality: str = ""
    date: str = ""

    def study_keys(self) -> dict[str, str]:
        """Matching keys of the study level by keyword."""
        keys = {"PatientID": self.patient, "StudyInstanceUID": self.study, "StudyDate": self.date,
                "ModalitiesInStudy": self.modality}  # fmt: skip
        return {keyword: value for keyword, value in keys.items() if value}

    def wants(self, series: Series) -> bool:
        """Whether a series holds the kind of image asked for; servers may ignore keys that they do not know."""
        return series.modality == self.modality if self.modality else series.modality in SCAN_MODALITIES


@dataclass(frozen=True)
class Series:
    """One series of a PACS."""

    study_uid: str
    series_uid: str
    modality: str
    number: str = ""

    @classmethod
    def of(cls, found: Dataset, study_uid: str) -> Series:
        """From what the server answers at the series level."""
        return cls(study_uid, str(found.get("SeriesInstanceUID") or ""), str(found.get("Modality") or ""),
                   str(found.get("SeriesNumber") or ""))  # fmt: skip

    @property
    def name(self) -> str:
        """What it is called here: nothing of the patient, and no UID."""
        kind = re.sub(r"[^a-z0-9]", "", self.modality.lower()) or "series"
        return f"{kind}{re.sub('[^0-9]', '', self.number)}-{hashlib.sha256(self.series_uid.encode()).hexdigest()[:6]}"


class Pacs(Protocol):
    """A PACS; every method raises `PacsError` when the server does not answer or refuses."""

    def find(self, query: Query) -> list[Series]:
        """Series that match, in the order of study and series."""

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""

    def fetch(self, series: Series, folder: Path) -> None:
        """Write every file of a series into an empty folder."""

    def store(self, path: Path) -> None:
        """Store one DICOM file; `StorageRefusedError` when the server takes no objects of its kind."""


@dataclass(frozen=True)
class Credentials:
    """How to prove who is asking; nothing of it is ever shown."""

    user: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"

    def __bool__(self) -> bool:
        return bool(self.user or self.token)


@dataclass(frozen=True)
class Tls:
    """Certificates as PEM files: of the authority that signed the server's, and one's own with its key."""

    authority: Path | None = None
    certificate: Path | None = None
