"""What `find_scans` reports about one scan before its voxels are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.geometry import Geometry


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
        geometry: its native grid; None when refused before it was known.
    """

    id: str
    paths: tuple[Path, ...]
    format: Literal["nifti", "dicom"]
    verdict: str = "ok"
    reason: str = ""
    modality: str = ""
    geometry: Geometry | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the headers promise one regular volume."""
        return self.verdict == "ok"

    @property
    def path(self) -> Path:
        """The NIfTI file, or the first slice of the series."""
        return self.paths[0]
