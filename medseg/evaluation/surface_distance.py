"""How far apart the surfaces of two regions lie, in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between the surface voxels of two regions: those with a face to the outside.

    Attributes:
        there_mm: (N,) from each surface voxel of the first region to the nearest of the second.
        back_mm: (M,) the other way round.
    """

    there_mm: FloatArray
    back_mm: FloatArray

    @classmethod
    def between(cls, first: Mask, second: Mask, spacing_mm: tuple[float, float, float]) -> SurfaceDistances:
        """Measure two (I, J, K) masks of one grid; distances to an empty region are infinite."""
        if first.shape != second.shape:
            raise ValueError(f"both masks must lie on one grid, found shapes {first.shape} and {second.shape}")
        a, b = _surface_mm(first, spacing_mm), _surface_mm(second, spacing_mm)
        return cls(_nearest_mm(a, b), _nearest_mm(b, a))

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within `tolerance_mm` of the other; NaN for two empty regions.

        References:
            Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck
            anatomy for radiotherapy", arXiv:1809.04430 (2018); here each surface voxel counts alike.
        """
        n = len(self.there_mm) + len(self.back_mm)
        near = np.count_nonzero(self.there_mm <= tolerance_mm) + np.count_nonzero(self.back_mm <= tolerance_mm)
        return float(near / n) if n else math.nan

    def hausdorff_mm(self, percentile: float = 95.0) -> float:
        """The larger of both directed distances at `percentile`; infinite when one region is empty."""
        if not (len(self.there_mm) and len(self.back_mm)):
            return math.nan if len(self.there_mm) == len(self.back_mm) else math.inf
        return max(float(np.percentile(d, percentile)) for d in (self.there_mm, self.back_mm))


def _surface_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> FloatArray:
    """(N, 3) positions of the surface voxels; beyond the border of the volume is outside."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return np.zeros((0, 3))
    part = mask[boxes[0]]
    surface = part & ~ndimage.binary_erosion(part)
    start = [axis.start for axis in boxes[0]]
    positions: FloatArray = (np.argwhere(surface) + start) * np.asarray(spacing_mm)
    return positions


def _nearest_mm(points: FloatArray, others: FloatArray) -> FloatArray:
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    distances, _ = KDTree(others, leafsize=32).query(points)
    return np.asarray(distances, dtype=np.float64)
