"""What medseg asks of a PACS, whichever protocol it speaks: find series, fetch one, store a segmentation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from medseg.errors import MedsegError

SCAN_MODALITIES = ("CT", "MR", "PT")
"""What is fetched when the query names no modality."""
Values = Mapping[str, str]
"""Elements of a search answer by keyword; what is empty or no text is left out."""


class PacsError(MedsegError):
    """The server cannot be reached, or does not do what it was asked for."""


class StorageRefusedError(PacsError):
    """The server does not take this kind of object; another kind may be taken."""


@dataclass(frozen=True)
class Bounds:
    """What a server may take and send at most; what goes beyond is cut off.

    Attributes:
        seconds: for one search, one fetch or one store.
        answer_bytes: of one page of answers to a search, unpacked.
        instance_bytes: of one DICOM object.
        series_bytes: of all objects of a series.
        n_found: studies of one search, series of a study, or instances of a series.
    """

    seconds: float = 3600.0
    answer_bytes: int = 1 << 26
    instance_bytes: int = 1 << 31
    series_bytes: int = 16 << 30
    n_found: int = 100_000


@dataclass(frozen=True)
class Query:
    """Which series are wanted; what is empty does not matter.

    Attributes:
        patient: PatientID.
        study: StudyInstanceUID.
        modality: such as ``MR``.
        date: of the study, ``YYYYMMDD`` or a range ``YYYYMMDD-YYYYMMDD`` (either end may be left open).
    """

    patient: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    modality: str = ""
    date: str = ""

    def study_keys(self) -> dict[str, str]:
        """Matching keys of the study level by keyword."""
        keys = {"PatientID": self.patient, "StudyInstanceUID": self.study, "StudyDate": self.date,
                "ModalitiesInStudy": self.modality}  # fmt: skip
        return {keyword: value for keyword, value in keys.items() if value}

    def names(self, study: Values) -> bool:
        """Whether a study is one of those asked for; servers may ignore keys that they do not know."""
        patient, uid, date = (study.get(key, "") for key in ("PatientID", "StudyInstanceUID", "StudyDate"))
        first, dash, last = self.date.partition("-")
        is_then = (first or "0") <= date <= (last or ("9" if dash else first))
        return (
            not (self.patient and patient and plain(patient) != plain(self.patient))
            and not (self.study and uid != self.study)
            and not (self.date and re.fullmatch("[0-9]{8}", date) and not is_then)
        )

    def wants(self, series: Series) -> bool:
        """Whether a series holds the kind of image asked for; servers may ignore keys that they do not know."""
        return series.modality == self.modality if self.modality else series.modality in SCAN_MODALITIES


@dataclass(frozen=True)
class Series:
    """One series of a PACS, as its search says.

    Attributes:
        patient: PatientID; empty when the server does not tell.
        n_instances: NumberOfSeriesRelatedInstances; 0 when the server does not tell.
        flaw: why it cannot be fetched; empty when it can.
    """

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    modality: str
    number: str = ""
    patient: str = field(default="", repr=False)
    n_instances: int = 0
    flaw: str = ""

    @classmethod
    def of(cls, found: Values, study: Values) -> Series:
        """From what the server answers at the series level, and at the study level before."""
        uids = study.get("StudyInstanceUID", ""), found.get("SeriesInstanceUID", "")
        flaw = "" if all(map(is_uid, uids)) else "the search answered with a UID that is none; look at the PACS"
        count = found.get("NumberOfSeriesRelatedInstances", "")
        n_instances = int(count) if re.fullmatch("[0-9]{1,9}", count) else 0
        modality, number = found.get("Modality", "")[:16], found.get("SeriesNumber", "")[:12]
        return cls(*uids, modality, number, study.get("PatientID", ""), n_instances, flaw)

    @property
    def name(self) -> str:
        """What it is called here: nothing of the patient, and no UID."""
        kind = re.sub(r"[^a-z0-9]", "", self.modality.lower())[:8] or "series"
        uid = self.series_uid or self.study_uid
        return f"{kind}{re.sub('[^0-9]', '', self.number)}-{hashlib.sha256(uid.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Found:
    """The answer to a search: series in the order of study and series, and how many studies were not asked for."""

    series: tuple[Series, ...]
    n_others: int = 0


class Pacs(Protocol):
    """A PACS; every method raises `PacsError` when the server does not answer, refuses or sends what it must not."""

    def find(self, query: Query) -> Found:
        """Series that match."""

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""

    def fetch(self, series: Series, folder: Path) -> int:
        """Write every file of a series into an empty folder; returns how many the server says that it has."""

    def store(self, path: Path) -> None:
        """Store one DICOM file; `StorageRefusedError` when the server takes no objects of its kind."""


def is_uid(text: str) -> bool:
    """Whether a text can stand in an address and in a query as a UID; leading zeros, invalid but common, are let by."""
    return re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is not None and len(text) <= 64


def plain(patient: str) -> str:
    """A PatientID without what servers add or change: spaces around it, capitals."""
    return patient.strip(" ^").upper()


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
