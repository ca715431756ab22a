"""Moran's I and Geary's C of a region by the definitions of the IBSI (arXiv:1612.07003, section 3.1).

Weights are inverse distances, so sums over all pairs of voxels are convolutions: exact, without a loop over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

NAMES = ("morph_moran_i", "morph_geary_c")
MOST_VOXELS = 2**25
"""Of the doubled box around a region; beyond (a box of four million voxels) it would take gigabytes."""


def autocorrelation(
    voxels: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], spacing_mm: Sequence[float]
) -> dict[str, float]:
    """`NAMES` of (I, J, K) voxels inside a region; nothing for a larger box, one voxel or a single intensity."""
    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in inside.shape]
    n_voxels = int(inside.sum())
    if np.prod(shape) > MOST_VOXELS or n_voxels < 2:
        return {}
    mean = float(voxels[inside].mean(dtype=np.float64))
    apart = np.where(inside, voxels - np.float64(mean), 0.0)
    squares = float((apart**2).sum())
    if squares == 0:
        return {}
    weights = fft.rfftn(_inverse_distances(shape, inside.shape, spacing_mm))
    near = _around(inside.astype(np.float64), weights, shape)
    total = float(near[inside].sum())
    products = float((apart * _around(apart, weights, shape)).sum())
    differences = 2 * float((apart**2 * near).sum()) - 2 * products
    return {
        "morph_moran_i": n_voxels / total * products / squares,
        "morph_geary_c": (n_voxels - 1) / (2 * total) * differences / squares,
    }


def _inverse_distances(
    shape: Sequence[int], reach: Sequence[int], spacing_mm: Sequence[float]
) -> npt.NDArray[np.float64]:
    """1 / mm from each voxel of a periodic grid to the first one, which has none to itself."""
    square = np.zeros(tuple(shape))
    for axis, (n, most, spacing) in enumerate(zip(shape, reach, spacing_mm, strict=True)):
        steps = np.minimum(np.arange(n), n - np.arange(n)).clip(max=most)
        square += np.expand_dims((steps * spacing) ** 2, [other for other in range(3) if other != axis])
    square[0, 0, 0] = np.inf
    return np.asarray(1 / np.sqrt(square, out=square))


def _around(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.complex128], shape: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Weighted sum over all others, at each voxel."""
    found = fft.irfftn(fft.rfftn(values, shape) * weights, shape)
    return np.asarray(found[tuple(slice(0, n) for n in values.shape)])
