"""Tissues by Hounsfield units, found in the histogram of a whole cohort: the same in every scan.

Lung, fat and soft tissue each have a peak, whatever the scanner; contrast medium adds one for enhanced blood and
organs. Borders lie between peaks, and bone begins above the last of them, in a native and in an enhanced CT. Partial
volume has no vote: voxels count by how even the image is around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
LUNG, FAT, SOFT, BONE = range(4)
"""Enhanced blood and organs are soft tissue; regions tell them apart."""
STEP_HU = 5.0
BINS_HU = np.arange(-1025.0, 1500.0, STEP_HU)
EDGE_HU_PER_MM = 10.0
"""Gradient at which a voxel counts half."""
GRADIENT_MM = 2.1
"""Standard deviation of the Gaussian whose gradient is taken."""
PROMINENCE = 0.02
"""Least prominence of a peak, as a share of the highest peak of tissue."""
FAT_HU, SOFT_HU, LUNG_HU = (-150.0, -50.0), (0.0, 110.0), (-950.0, -600.0)
"""Where the peak of fat, of soft tissue and of lung is looked for; wide enough for every kVp."""
USUAL_HU = {FAT_HU: -100.0, SOFT_HU: 50.0, LUNG_HU: -850.0}
"""Taken where a cohort shows no such peak."""
ENHANCED_HU = 300.0
"""No peak of enhanced blood lies above."""
LEAST_ABOVE_HU = 75.0
"""Bone begins at least this much above the peak of soft tissue: muscle, liver and clotted blood lie between."""
JUMP_HU = 300.0
"""Darkest and brightest neighbour further apart than this: the voxel is partial volume of two tissues."""


@dataclass(frozen=True)
class HounsfieldTissues:
    """Tissue k lies between cuts k - 1 and k; `LUNG`, `FAT`, `SOFT` and `BONE` are their numbers.

    Attributes:
        cuts: (3,) ascending HU.
    """

    cuts: Array

    @classmethod
    def fit(cls, histogram: Array) -> HounsfieldTissues:
        """From the shares of `BINS_HU` in the cohort (see `histogram_of`): (len(BINS_HU) - 1,)."""
        from scipy.signal import find_peaks

        shares = ndimage.gaussian_filter1d(histogram, 2.0)
        centres = BINS_HU[:-1] + STEP_HU / 2
        peaks = find_peaks(shares, prominence=PROMINENCE * shares[centres > -200].max())[0]
        lung, fat, soft = (_peak(peaks, shares, centres, where) for where in (LUNG_HU, FAT_HU, SOFT_HU))
        brighter = [float(centres[p]) for p in peaks if soft < centres[p] < ENHANCED_HU]
        last = max([soft, *brighter])
        bone = max(last + 3 * _width(shares, centres, last), soft + LEAST_ABOVE_HU)
        return cls(np.array([(lung + fat) / 2, (fat + soft) / 2, bone]))

    def __len__(self) -> int:
        return len(self.cuts) + 1

    def of(self, hu: Volume) -> npt.NDArray[np.int64]:
        """Tissue of each voxel, from 0."""
        return np.digitize(hu, self.cuts)

    def bounds(self, tissue: int) -> tuple[float, float]:
        """HU between which a tissue lies; infinite at the ends."""
        edges = [-np.inf, *self.cuts, np.inf]
        return float(edges[tissue]), float(edges[tissue + 1])


def evenness(hu: Volume, spacing_mm: Sequence[float]) -> Volume:
    """(I, J, K) of 0 to 1: near 1 where the image is even, near 0 at edges."""
    squares = np.zeros(hu.shape, dtype=np.float32)
    for axis, spacing in enumerate(spacing_mm):
        order = [int(axis == other) for other in range(3)]
        sigma = [GRADIENT_MM / s for s in spacing_mm]
        squares += (ndimage.gaussian_filter(hu, sigma, order=order, mode="nearest") / spacing) ** 2
    return np.asarray(1 / (1 + (squares / EDGE_HU_PER_MM**2) ** 2), dtype=np.float32)


def histogram_of(hu: Volume, inside: Mask, even: Volume, bins: Array = BINS_HU) -> Array:
    """(len(bins) - 1,) shares of the foreground's voxels, weighed by how even the image is there."""
    counts = np.histogram(hu[inside], bins, weights=even[inside])[0].astype(np.float64)
    return np.asarray(counts / max(float(counts.sum()), 1e-12))


def sharpened(hu: Volume, inside: Mask) -> Volume:
    """Each partial-volume voxel takes the nearer of its darkest and brightest neighbour; others stay.

    Toggle mapping (Kramer and Bruckner, Pattern Recognition 7:53, 1975), inside the foreground and only across jumps of
    `JUMP_HU`: the border of lung and soft tissue then is no shell of "fat", and a thin vessel, being its own maximum,
    survives.
    """
    cross = ndimage.generate_binary_structure(3, 1)
    low = ndimage.grey_erosion(np.where(inside, hu, np.inf).astype(np.float32), footprint=cross)
    high = ndimage.grey_dilation(np.where(inside, hu, -np.inf).astype(np.float32), footprint=cross)
    nearer = np.where(high - hu < hu - low, high, low)
    return np.asarray(np.where(inside & (high - low > JUMP_HU), nearer, hu), dtype=np.float32)


def _peak(peaks: npt.NDArray[np.integer], shares: Array, centres: Array, where: tuple[float, float]) -> float:
    inside = [p for p in peaks if where[0] < centres[p] < where[1]]
    return float(centres[max(inside, key=lambda p: shares[p])]) if inside else USUAL_HU[where]


def _width(shares: Array, centres: Array, peak: float) -> float:
    """Standard deviation of a peak by its half width on the bright side, HU."""
    first = int(np.searchsorted(centres, peak))
    below = np.flatnonzero(shares[first:] < 0.5 * shares[first])
    return float(below[0] * STEP_HU / 1.177) if below.size else STEP_HU
