"""What can be asked for of a scan: its names on the command line and in Python."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from medseg.errors import ConfigError


class Output(StrEnum):
    """One output of a scan, by the name that `--write` and `Model.segment` take."""

    NIFTI = "nifti"
    SEG_NRRD = "seg.nrrd"
    MRB = "mrb"
    DICOM_SEG = "dicomseg"
    DICOM_SEG_BINARY = "dicomseg-binary"
    CONFIDENCE = "confidence"
    FRACTIONS = "fractions"
    FINEST = "finest"
    ANOMALY = "anomaly"
    DISAGREEMENT = "disagreement"


def requested(outputs: Iterable[str]) -> frozenset[Output]:
    """The outputs of these names.

    Raises:
        ConfigError: a name that is none.
    """
    names = list(outputs)
    unknown = [name for name in names if name not in list(Output)]
    if unknown:
        raise ConfigError(f"found {unknown}, expected some of {', '.join(Output)}")
    return frozenset(map(Output, names))
