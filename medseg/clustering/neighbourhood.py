"""How its neighbours sway a voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import softmax

from medseg.clustering.mixture import Features
from medseg.spatial.smoothing import pooling

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_LEAST = 0.02
"""Least posterior in the mean field: one voxel cannot outvote its surroundings."""


def smooth_posteriors(
    posteriors: Features, inside: Mask, strength: float, spacing_mm: Sequence[float], *, n_rounds: int = 4
) -> Features:
    """Mean field of a Potts model whose neighbours are weighed by a Gaussian of 1.5 voxels; (V, K) -> (V, K).

    Kraehenbuehl and Koltun, "Efficient inference in fully connected CRFs", NeurIPS 2011, with the spatial kernel only.
    """
    if strength == 0:
        return posteriors
    logs = np.log(np.clip(posteriors, _LEAST, 1))
    pooled = pooling(inside, 1.5 * float(np.exp(np.mean(np.log(spacing_mm)))), spacing_mm)
    for _ in range(n_rounds):
        field = logs.copy()
        for number, column in enumerate(posteriors.T):
            field[:, number] += strength * pooled(_volume(column, inside))[inside]
        posteriors = softmax(field, axis=1)
    return posteriors


def keep_bulk(posteriors: Features, inside: Mask, tissue: int, share: float) -> Features:
    """Take `tissue` away where it is only a small part of its own, or thinly attached to a large one.

    The tissue is eroded once; parts below `share` of the largest are dropped; the others grow back by two voxels
    within the tissue. What is left over goes to the next best tissue. (V, K) -> (V, K).
    """
    if share == 0:
        return posteriors
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


def _volume(column: Features, inside: Mask) -> Volume:
    """(V,) values of the foreground voxels as an (I, J, K) volume, 0 outside."""
    volume = np.zeros(inside.shape, dtype=np.float32)
    volume[inside] = column
    return volume
