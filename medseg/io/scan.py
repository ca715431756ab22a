"""What `find_scans` reports about one scan before its voxels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from medseg.errors import one_line
from medseg.spatial.geometry import Geometry

MAX_VOXELS = 2**31
"""A scan of more voxels is refused: 8 GB, and more than any clinical scanner makes."""


class SeriesTags(NamedTuple):
    """What tells which DICOM series are channels of one scan; the UIDs stay in memory."""

    study: str
    frame_of_reference: str
    description: str


@dataclass(frozen=True)
class Scan:
    """One scan of a directory: a NIfTI file or a DICOM series, judged by its headers only.

    Attributes:
        id: name of the scan relative to the directory searched, with ``/`` and without suffix (``a/b``);
            outputs are named after it.
        paths: the files that hold it: one NIfTI file, or the DICOM files in the order of their slices.
        verdict: ``ok``, or the reason code of the refusal.
        reason: one sentence for people, empty when ok.
        modality: DICOM modality (``CT``, ``MR`` ...) or ``""`` when the files do not say.
        geometry: its native grid, or the regular one it is brought onto; None when refused before it was known.
        frames: of enhanced multi-frame files, which frames are its slices, counted through the files of `paths` one
            after the other; empty when the files are its slices.
        regrid: what `read_scan` does to bring it onto a regular grid; empty when it lies on one.
        series: of a DICOM series; None for files that could not be read as one.
        more_channels: the other channels of a scan that `group_channels` made; each may lie on a grid of its own.
    """

    id: str
    paths: tuple[Path, ...]
    format: Literal["nifti", "dicom"]
    verdict: str = "ok"
    reason: str = ""
    modality: str = ""
    geometry: Geometry | None = None
    frames: tuple[int, ...] = ()
    regrid: str = ""
    series: SeriesTags | None = field(default=None, repr=False)
    more_channels: tuple[Scan, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", one_line(self.reason))

    @property
    def is_ok(self) -> bool:
        """Whether the headers promise one regular volume."""
        return self.verdict == "ok"

    @property
    def is_bystander(self) -> bool:
        """Whether nobody expects labels of it: DICOM that never was a volume, such as a report or a localiser."""
        return self.format == "dicom" and self.verdict == "not_a_volume"

    @property
    def path(self) -> Path:
        """The NIfTI file, or the first slice of the series."""
        return self.paths[0]

    @property
    def all_paths(self) -> tuple[Path, ...]:
        """The files of all its channels."""
        return (*self.paths, *(path for scan in self.more_channels for path in scan.paths))
