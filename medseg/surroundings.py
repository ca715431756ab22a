"""What a voxel's surroundings consist of, and how its neighbours sway it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import softmax

from medseg.texture import pool

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_LEAST = 0.02
"""Least posterior in the mean field: one voxel cannot outvote its surroundings."""


def composition(posteriors: Array, inside: Mask, sigma_mm: float, spacing_mm: Sequence[float]) -> Array:
    """Shares of each tissue, and of the outside, around every foreground voxel.

    Args:
        posteriors: (V, K) of the V foreground voxels.
        sigma_mm: standard deviation of the Gaussian window.

    Returns:
        (V, K + 1) square roots of the shares, so that Euclidean distance is Hellinger's.
    """
    sigma = [sigma_mm / s for s in spacing_mm]
    columns = []
    for volume in (*_volumes(posteriors, inside), (~inside).astype(np.float32)):
        pooled = ndimage.gaussian_filter(volume, sigma, mode="nearest", truncate=3)[inside]
        columns.append(np.sqrt(np.maximum(pooled, 0)))
    return np.stack(columns, axis=1).astype(np.float64)


def smooth_posteriors(
    posteriors: Array, inside: Mask, strength: float, spacing_mm: Sequence[float], *, n_rounds: int = 4
) -> Array:
    """Mean field of a Potts model whose neighbours are weighed by a Gaussian of 1.5 voxels; (V, K) -> (V, K).

    Kraehenbuehl and Koltun, "Efficient inference in fully connected CRFs", NeurIPS 2011, with the spatial kernel only.
    """
    if strength == 0:
        return posteriors
    logs = np.log(np.clip(posteriors, _LEAST, 1))
    sigma_mm = 1.5 * float(np.exp(np.mean(np.log(spacing_mm))))
    for _ in range(n_rounds):
        field = [pool(volume, inside, sigma_mm, spacing_mm)[inside] for volume in _volumes(posteriors, inside)]
        posteriors = softmax(logs + strength * np.stack(field, axis=1), axis=1)
    return posteriors


def keep_bulk(posteriors: Array, inside: Mask, tissue: int, share: float) -> Array:
    """Take `tissue` away where it is only a small part of its own, or thinly attached to a large one.

    The tissue is eroded once; parts below `share` of the largest are dropped; the others grow back by two voxels
    within the tissue. What is left over goes to the next best tissue. (V, K) -> (V, K).
    """
    volume = np.zeros(inside.shape, dtype=bool)
    volume[inside] = posteriors.argmax(axis=1) == tissue
    parts, n_parts = ndimage.label(ndimage.binary_erosion(volume))
    if n_parts < 2:
        return posteriors
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = ndimage.binary_dilation((sizes >= share * sizes.max())[parts], iterations=2) & volume
    changed = posteriors.copy()
    changed[(volume & ~kept)[inside], tissue] = 0
    return np.asarray(changed / np.maximum(changed.sum(axis=1, keepdims=True), 1e-12))


def _volumes(posteriors: Array, inside: Mask) -> list[npt.NDArray[np.float32]]:
    """Each column as an (I, J, K) volume, 0 outside."""
    volumes = []
    for column in posteriors.T:
        volume = np.zeros(inside.shape, dtype=np.float32)
        volume[inside] = column
        volumes.append(volume)
    return volumes
