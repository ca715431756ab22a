"""Padding of a CT: what lies outside the circle that the scanner saw, or outside a mask, filled with one number.

Scanners write -1024, -2000, -2048 or -3024 HU there, software also 0. Arrays are (K, I, J): K axial planes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

BoolArray = npt.NDArray[np.bool_]
HuArray = npt.NDArray[np.float32]

_BELOW_AIR_HU = -1200.0
"""Air is -1000 HU; four times the noise of a usual scan (50 HU) below it nothing is measured."""
_ABOVE_AIR_HU = -900.0
"""One number from here down to `_BELOW_AIR_HU` may be the air of a scan that was clipped or denoised."""
_SAME_HU = 0.5
"""Stored numbers are whole; interpolation of one number with itself errs by less."""
_LEAST_OVERLAP = 0.95
"""Shared by union of what is not filled and the nearest disc: at 3 mm, a true circle of 400 mm reaches 0.98."""


def padding_of(hu: HuArray) -> tuple[BoolArray, BoolArray]:
    """Find the padding in (K, I, J) Hounsfield units, not interpolated.

    It reaches the rim of its plane, is no speck, and lies far below air, or has the most frequent number of the rim and
    fills everything outside a disc in every plane. Other places of that number may be padding as well as air.

    Returns:
        (K, I, J) padding, and (K, I, J) places filled with a number of air that may be padding.
    """
    numbers, counts = np.unique(np.concatenate([hu[:, [0, -1]].ravel(), hu[:, :, [0, -1]].ravel()]), return_counts=True)
    number = float(numbers[counts.argmax()])
    filled = np.abs(hu - number) < _SAME_HU
    in_every_plane = filled.all(axis=0)
    below_air = hu < _BELOW_AIR_HU
    if _is_disc(~in_every_plane):
        return _without_specks(below_air | in_every_plane), np.zeros_like(below_air)
    if not _BELOW_AIR_HU <= number <= _ABOVE_AIR_HU:
        filled[:] = False
    return _without_specks(below_air), _without_specks(filled)


def _without_specks(mask: BoolArray) -> BoolArray:
    """What holds a square of 3 x 3 voxels in its plane and reaches the rim of the plane."""
    if not mask.any():
        return mask
    square = np.ones((1, 3, 3), dtype=bool)
    opened = ndimage.binary_erosion(mask, square, border_value=1)
    opened = ndimage.binary_dilation(opened, square, mask=mask)
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = True
    parts, n_parts = ndimage.label(opened, in_plane)
    at_rim = np.zeros(n_parts + 1, dtype=bool)
    for axis in (1, 2):
        at_rim[parts.take((0, -1), axis)] = True
    at_rim[0] = False
    return np.asarray(at_rim[parts])


def _is_disc(seen: BoolArray) -> bool:
    """Whether (I, J) pixels are a disc around the middle of the plane, cut by its sides or not, without its corners."""
    if seen[[0, 0, -1, -1], [0, -1, 0, -1]].any() or not seen.any():
        return False
    i, j = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in seen.shape)]
    distance = np.hypot(i, j)
    disc = distance <= np.percentile(distance[seen], 99.5)
    return bool((disc & seen).sum() > _LEAST_OVERLAP * (disc | seen).sum())
