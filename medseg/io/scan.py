"""What `find_scans` reports about one scan before its voxels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from medseg.errors import one_line
from medseg.io.facts import NOTHING, Facts
from medseg.spatial.geometry import Geometry

MAX_VOXELS = 2**31
"""A scan of more voxels is refused: 8 GB, and more than any clinical scanner makes."""


class SeriesTags(NamedTuple):
    """What tells which DICOM series belong together; the UIDs stay in memory.

    Attributes:
        patient: hashes of PatientID, PatientName and PatientBirthDate, each empty where the files do not say it.
    """

    study: str
    frame_of_reference: str
    patient: tuple[str, ...] = ()


class FreeText(NamedTuple):
    """What people typed: it may hold the name of a patient, so it is matched, and shown only to who asks for it.

    Attributes:
        description: SeriesDescription.
        protocol: ProtocolName.
    """

    description: str = ""
    protocol: str = ""


@dataclass(frozen=True)
class Scan:
    """One scan of a directory: a file of one volume or a DICOM series, judged before its voxels are read.

    Attributes:
        id: name of the scan relative to the directory searched, with ``/`` and without suffix (``a/b``);
            outputs are named after it.
        paths: the files that hold it: one file (of MetaImage and NRRD the one with the voxels too), or the DICOM files
            in the order of their slices.
        format: ``volume`` for what is neither NIfTI nor DICOM: NRRD, MetaImage, MGH, and what is refused by name.
        verdict: ``ok``, or the reason code of the refusal.
        reason: one sentence for people, empty when ok.
        modality: DICOM modality (``CT``, ``MR`` ...) or ``""`` when the files do not say.
        geometry: its native grid, or the regular one it is brought onto; None when refused before it was known.
        frames: of enhanced multi-frame files, which frames are its slices, counted through the files of `paths` one
            after the other; empty when the files are its slices.
        regrid: what `read_scan` does to bring it onto a regular grid; empty when it lies on one.
        registration: how `read_scan` brings its other channels onto the first; ``none``: as their headers say.
        note: what is odd about it and how it is read all the same; empty when nothing is.
        stem: its name relative to the directory searched as the disk has it, where `id` is another for safety.
        series: of a DICOM series; None for files that could not be read as one.
        free_text: of a DICOM series, or of the sidecar of a NIfTI file.
        facts: how it was acquired.
        subject: BIDS subject, such as ``sub-01``; empty for what is not worked on as a part of a BIDS dataset.
        session: BIDS session, such as ``ses-02``; empty where there is none.
        more_channels: the other channels of a scan that `group_channels` made; each may lie on a grid of its own.
    """

    id: str
    paths: tuple[Path, ...]
    format: Literal["nifti", "dicom", "volume"]
    verdict: str = "ok"
    reason: str = ""
    modality: str = ""
    geometry: Geometry | None = None
    frames: tuple[int, ...] = ()
    regrid: str = ""
    note: str = ""
    stem: str = ""
    series: SeriesTags | None = field(default=None, repr=False)
    free_text: FreeText = field(default=FreeText(), repr=False)
    facts: Facts = NOTHING
    subject: str = ""
    session: str = ""
    more_channels: tuple[Scan, ...] = ()
    registration: Literal["none", "rigid"] = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", one_line(self.reason))
        object.__setattr__(self, "note", one_line(self.note))

    @property
    def is_ok(self) -> bool:
        """Whether the headers promise one regular volume."""
        return self.verdict == "ok"

    @property
    def is_bystander(self) -> bool:
        """Whether nobody expects labels of it: DICOM that never was a volume, such as a report, or a label map."""
        return self.is_label_map or (self.format == "dicom" and self.verdict == "not_a_volume")

    @property
    def is_label_map(self) -> bool:
        """Whether it holds labels or a mask, not an image."""
        return self.verdict == "label_map"

    @property
    def path(self) -> Path:
        """The NIfTI file, or the first slice of the series."""
        return self.paths[0]

    @property
    def all_paths(self) -> tuple[Path, ...]:
        """The files of all its channels."""
        return (*self.paths, *(path for scan in self.more_channels for path in scan.paths))
