"""Which scans are unlike the others, by the volume of a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.report.outcome import Outcome

ODD_Z = 3.5
MIN_SCANS = 5


@dataclass(frozen=True)
class Odd:
    """The volume of label `number` in scan number `scan` of the manifest, with its distance from the others."""

    scan: int
    number: int
    volume_ml: float
    median_ml: float
    z: float


def robust_z(values: Sequence[float]) -> list[float]:
    """Distances from the median in units of 1.4826 times the median absolute deviation.

    All 0 with fewer than `MIN_SCANS` values, and when more than half of the values are equal, because there is no
    scale then. (Iglewicz and Hoaglin, "How to detect and handle outliers", 1993: suspicious above 3.5.)
    """
    found = np.asarray(values, dtype=float)
    if len(found) < MIN_SCANS:
        return [0.0] * len(found)
    deviation = found - np.median(found)
    scale = 1.4826 * float(np.median(np.abs(deviation)))
    return [0.0] * len(found) if scale <= 0 else [float(z) for z in deviation / scale]


def odd_volumes(outcome: Outcome) -> dict[tuple[int, int], Odd]:
    """Volumes whose robust z is beyond `ODD_Z`, by (place of the scan, label number)."""
    odd = {}
    for label in outcome.labels:
        volumes = outcome.volumes_ml(label.number)
        values = [volume for _, volume in volumes]
        for (place, volume), z in zip(volumes, robust_z(values), strict=True):
            if abs(z) > ODD_Z:
                odd[place, label.number] = Odd(place, label.number, volume, float(np.median(values)), z)
    return odd
