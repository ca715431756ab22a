"""What a voxel's surroundings consist of, and how its neighbours sway it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage
from scipy.special import softmax

from medseg.clustering.mixture import Features
from medseg.preprocessing.prepare import Prepared, arrays
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.spatial.smoothing import pooling

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_LEAST = 0.02
"""Least posterior in the mean field: one voxel cannot outvote its surroundings."""


def shares_around(posteriors: Features, prepared: Prepared, sigma_mm: float) -> Features:
    """(V, K) posteriors of the foreground -> (V, K) their shares in the foreground around each voxel, summing to one.

    Args:
        sigma_mm: standard deviation of the Gaussian window.
    """
    inside = arrays(prepared)[1]
    spacing = Geometry.of(prepared.image).spacing_in_person_mm
    blocks = [max(1, int(sigma_mm / s / 2)) for s in spacing]
    sigma = [np.sqrt(max((sigma_mm / s) ** 2 - (b**2 - 1) / 12, 0.0)) / b for s, b in zip(spacing, blocks, strict=True)]
    grid = Geometry(cast(tuple[int, int, int], inside.shape), np.eye(4))
    coarse = torch.from_numpy(grid.lattice(blocks).affine.copy())
    found = np.empty_like(posteriors)
    for number, column in enumerate(posteriors.T):
        pooled = ndimage.gaussian_filter(_block_means(_volume(column, inside), blocks), sigma, truncate=3)
        image = MetaTensor(torch.from_numpy(pooled[None].astype(np.float32)), affine=coarse)
        found[:, number] = resample(image, grid).as_tensor()[0].numpy()[inside]
    found = np.maximum(found, 0)
    return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-6))


def _block_means(volume: Volume, blocks: Sequence[int]) -> Volume:
    """Means over blocks of voxels; the border value continues into the last ones."""
    padded = np.pad(volume, [(0, -n % b) for n, b in zip(volume.shape, blocks, strict=True)], mode="edge")
    (i, j, k), (a, b, c) = padded.shape, blocks
    return np.asarray(padded.reshape(i // a, a, j // b, b, k // c, c).mean(axis=(1, 3, 5)), dtype=np.float32)


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
