"""Where voxels lie: one frozen `Geometry`, and `resample`, the only way between grids.

World coordinates are RAS+ millimetres, the affine maps voxel centre indices (i, j, k) to them
(the NIfTI convention); a voxel extends half a cell to either side of its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

FloatArray = npt.NDArray[np.float64]
SHEAR_TOLERANCE = 1e-3
"""Largest |cosine| between two axes of a grid that still counts as orthogonal (0.06 degrees)."""
PERSON_SPACING_MM, PERSON_EXTENT_MM = 0.5, 100.0
"""Lengths of settings are those of people; on finer grids, and in smaller fields of view, they shrink."""


def in_person_mm(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Spacing in units of the length that stands for a millimetre of a person, so that small animals fit settings.

    The unit is a millimetre on grids of voxels of 0.5 mm or more (geometric mean), and shrinks with finer ones.
    """
    unit = min(1.0, _mean_of(spacing_mm) / PERSON_SPACING_MM)
    i, j, k = (float(s) / unit if unit < 1 else float(s) for s in spacing_mm)
    return i, j, k


def person_unit_mm(shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """What stands for a millimetre of a person in a field of view, before there is a working grid.

    It is 1, and less in a small field of view (below 100 mm, geometric mean) of fine voxels (below 0.5 mm).
    """
    if _mean_of(spacing_mm) >= PERSON_SPACING_MM:
        return 1.0
    return min(1.0, _mean_of(np.multiply(shape, spacing_mm)) / PERSON_EXTENT_MM)


def _mean_of(sizes: npt.ArrayLike) -> float:
    """Geometric mean."""
    return float(np.exp(np.log(sizes).mean()))


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid of voxels in RAS+ world space.

    Attributes:
        shape: number of voxels along i, j, k.
        affine: (4, 4) voxel centre index -> RAS+ mm, read-only.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise ValueError(f"affine must be a finite 4x4 matrix with last row 0 0 0 1, found {affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError(f"affine must be invertible, found axes {affine[:3, :3].tolist()}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"shape must be three positive sizes, found {self.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def of(cls, image: MetaTensor) -> Geometry:
        """The grid of a (C, I, J, K) image."""
        shape = cast(tuple[int, int, int], tuple(image.shape[1:]))
        return cls(shape, np.asarray(image.affine, dtype=np.float64))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along i, j, k."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def spacing_in_person_mm(self) -> tuple[float, float, float]:
        """What lengths of settings are compared with: `spacing_mm`, enlarged for small animals (`in_person_mm`)."""
        return in_person_mm(self.spacing_mm)

    @property
    def ras_axes(self) -> tuple[int, int, int]:
        """For each of i, j, k, which of R (0), A (1), S (2) it is closest to, whichever way it points."""
        i, j, k = nib.orientations.io_orientation(self.affine)[:, 0].astype(int)
        return int(i), int(j), int(k)

    def in_ras_order(self) -> Geometry:
        """The same voxels with i, j, k running closest to R, A, S, all ascending."""
        flips = nib.orientations.io_orientation(self.affine)
        shape = [self.shape[self.ras_axes.index(axis)] for axis in range(3)]
        affine = self.affine @ nib.orientations.inv_ornt_aff(flips, self.shape)
        return Geometry(cast(tuple[int, int, int], tuple(shape)), affine)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def axcodes(self) -> str:
        """Closest anatomical directions of i, j, k, for example ``RAS`` or ``PIR``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    @property
    def is_sheared(self) -> bool:
        """Whether two axes are not orthogonal, which NIfTI viewers and DICOM cannot show faithfully."""
        axes = self.affine[:3, :3] / np.asarray(self.spacing_mm)
        cosines = axes.T @ axes - np.eye(3)
        return bool(np.abs(cosines).max() > SHEAR_TOLERANCE)

    def to_world(self, indices: npt.ArrayLike) -> FloatArray:
        """(N, 3) voxel indices -> (N, 3) RAS+ mm."""
        return np.asarray(indices, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, points_mm: npt.ArrayLike) -> FloatArray:
        """(N, 3) RAS+ mm -> (N, 3) continuous voxel indices."""
        inverse = np.linalg.inv(self.affine)
        indices = np.asarray(points_mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return np.asarray(indices, dtype=np.float64)

    def crop(self, start: Sequence[int], shape: Sequence[int]) -> Geometry:
        """The sub-grid of `shape` voxels whose first voxel is `start`; it may reach outside this grid."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world([list(start)])[0]
        return Geometry(cast(tuple[int, int, int], tuple(shape)), affine)

    def every(self, step: int) -> Geometry:
        """The grid of every `step`-th voxel, the first one included."""
        affine = self.affine @ np.diag([step, step, step, 1.0])
        return Geometry(cast(tuple[int, int, int], tuple(-(-n // step) for n in self.shape)), affine)

    def lattice(self, cell: Sequence[int]) -> Geometry:
        """The grid of the centres of blocks of `cell` voxels, the last block may reach outside.

        The centre of the first block lies (cell - 1) / 2 voxels from the first voxel: the half cell.
        """
        blocks = np.diag([*cell, 1.0])
        blocks[:3, 3] = (np.asarray(cell) - 1) / 2
        shape = tuple(-(-n // c) for n, c in zip(self.shape, cell, strict=True))
        return Geometry(cast(tuple[int, int, int], shape), self.affine @ blocks)

    def is_close(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and no voxel lies further apart than `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        last = np.asarray(self.shape) - 1
        corners = np.array([[a, b, c] for a in (0, last[0]) for b in (0, last[1]) for c in (0, last[2])])
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= tolerance_mm)

    def __repr__(self) -> str:
        spacing = ", ".join(f"{s:.3g}" for s in self.spacing_mm)
        return f"Geometry(shape={self.shape}, spacing_mm=({spacing}), axcodes={self.axcodes})"
