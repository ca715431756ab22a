"""How long a batch takes and how much disk it needs, as ranges.

They come from what earlier scans of the folder took, else from known figures, those of benchmarks/README.md on two
cores: 4 to 20 s a brain of 1 mm (9 million voxels), 87 s a CT of 512 x 512 x 458. Other machines, other settings and
unusual scans leave them, so the ranges are wide.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from medseg.config import Config
from medseg.io.scan import Scan
from medseg.model.outputs import Output
from medseg.model.record import Record

LEAST_RECORDS = 3
"""Scans of the folder whose times say more than the known figures."""
CORES = 2
"""Of the machine of the known figures."""


class Range(NamedTuple):
    """From an optimistic to a pessimistic value."""

    low: float
    high: float

    def __add__(self, other: object) -> Range:
        if not isinstance(other, tuple):
            return NotImplemented
        return Range(self.low + other[0], self.high + other[1])

    def scaled(self, low: float, high: float | None = None) -> Range:
        """Both ends times a factor."""
        return Range(self.low * low, self.high * (low if high is None else high))


NOTHING = Range(0.0, 0.0)
A_SCAN_S, A_VOXEL_S = Range(0.2, 5.0), Range(3e-7, 2e-6)
"""Segmenting: seconds of both cores for a scan, and for each of its voxels."""
A_READING_S = Range(5e-8, 5e-7)
"""Reading and preparing, for each voxel; training does it twice."""
A_FIT_S, A_STEP_S = Range(3.0, 90.0), Range(0.02, 0.4)
"""Clusters and their stability; one step of training, of which a third is the least before it ends early."""
_BYTES = {
    Output.NIFTI: Range(0.01, 0.2), Output.SEG_NRRD: Range(0.01, 0.2), Output.MRB: Range(0.5, 5.0),
    Output.DICOM_SEG: Range(0.01, 0.5), Output.DICOM_SEG_BINARY: Range(0.05, 2.0),
    Output.CONFIDENCE: Range(0.05, 0.8), Output.FINEST: Range(0.02, 0.4), Output.ANOMALY: Range(0.2, 2.0),
    Output.DISAGREEMENT: Range(0.05, 0.8),
}  # fmt: skip
"""Bytes of an output for each voxel of the scan, compressed."""
_FRACTION_BYTES = Range(0.02, 0.5)
"""The same for each label of the fractions."""
_PAGE_BYTES = Range(2e5, 5e6)
"""Pictures, slices and the viewer's volumes of a scan."""


class Estimate(NamedTuple):
    """What is left to do.

    Attributes:
        n_measured: earlier scans of the folder that the time is taken from; 0: from the known figures.
    """

    seconds: Range
    n_bytes: Range
    n_measured: int = 0


def voxels_of(scan: Scan) -> int:
    """Voxels of all channels of a scan; 0 when its grid is not known."""
    return sum(prod(part.geometry.shape) for part in (scan, *scan.more_channels) if part.geometry is not None)


def estimate_segmenting(
    left: Sequence[Scan], records: Mapping[str, Record], every: Sequence[Scan], outputs: Collection[Output], *,
    n_labels: int, n_workers: int, n_cores: int,
) -> Estimate:  # fmt: skip
    """Time and disk of segmenting the scans that are left.

    Args:
        records: of the folder, by scan.
        every: the scans whose records these may be.
    """
    n_bytes = sum((_output_bytes(scan, outputs, n_labels) for scan in left), NOTHING)
    rates = [
        records[scan.id].seconds / voxels_of(scan)
        for scan in every
        if voxels_of(scan) and scan.id in records and records[scan.id].is_done and records[scan.id].seconds
    ]
    n_voxels = sum(map(voxels_of, left))
    if len(rates) >= LEAST_RECORDS:
        low, high = np.quantile(rates, (0.1, 0.9))
        at_once = max(1, min(n_workers, len(left)))
        return Estimate(Range(0.8 * low * n_voxels / at_once, 1.3 * high * n_voxels / at_once), n_bytes, len(rates))
    alone = A_VOXEL_S.scaled(n_voxels) + A_SCAN_S.scaled(len(left))
    return Estimate(alone.scaled(CORES / max(CORES, n_cores), CORES / min(CORES, max(1, n_cores))), n_bytes)


def estimate_training(scans: Sequence[Scan], config: Config, *, n_cores: int) -> Estimate:
    """Time and disk of fitting a model; what a cohort larger than memory puts into temporary files is left out."""
    n_voxels, training = sum(map(voxels_of, scans)), config.training
    n_steps = training.max_steps * training.ensemble
    n_steps += config.autoencoder.context_steps * (config.clustering.method == "cohort")
    n_steps += config.autoencoder.texture_steps * (config.clustering.texture > 0)
    reading = A_READING_S.scaled(2 * n_voxels) + A_SCAN_S.scaled(len(scans))
    seconds = reading + A_FIT_S.scaled(training.ensemble) + A_STEP_S.scaled(n_steps / 3, n_steps)
    return Estimate(seconds.scaled(CORES / max(CORES, n_cores), CORES / min(CORES, max(1, n_cores))), Range(3e5, 2e7))


def _output_bytes(scan: Scan, outputs: Collection[Output], n_labels: int) -> Range:
    n_voxels = prod(scan.geometry.shape) if scan.geometry is not None else 0
    a_voxel = sum((_BYTES.get(name, Range(0.01, 0.5)) for name in outputs if name is not Output.FRACTIONS), NOTHING)
    if Output.FRACTIONS in outputs:
        a_voxel = a_voxel + _FRACTION_BYTES.scaled(n_labels)
    return a_voxel.scaled(n_voxels) + _PAGE_BYTES
