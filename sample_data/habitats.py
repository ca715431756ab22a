"""Cases with a small region that holds a few habitats, for `--config habitats`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

SPACING_MM = 3.0


def case(parts: Sequence[float], seed: int, size: int = 32) -> tuple[MetaTensor, MetaTensor]:
    """A body with a ball of a few hundred voxels that holds `parts`, intensities in layers; and the ball.

    Returns:
        (1, size, size, size) image, and 0 and 1 of the same shape: the region.
    """
    voxels, layer = _drawn(parts, size)
    noisy = voxels + 4 * np.random.default_rng(seed).standard_normal(voxels.shape)
    image = np.where(voxels > 0, np.maximum(noisy, 1), 0)
    affine = torch.diag(torch.tensor([SPACING_MM] * 3 + [1.0], dtype=torch.float64))
    whole, ball = (
        MetaTensor(torch.from_numpy(x[None].astype(np.float32)), affine=affine.clone()) for x in (image, layer > 0)
    )
    return whole, ball


def truth(parts: Sequence[float], size: int = 32) -> npt.NDArray[np.int64]:
    """(size, size, size) which of `parts` a voxel of the region holds, from 1; 0 outside."""
    return _drawn(parts, size)[1]


def _drawn(parts: Sequence[float], size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    axis = np.arange(size) - (size - 1) / 2
    i, j, k = np.meshgrid(axis, axis, axis, indexing="ij")
    voxels = np.where(np.sqrt(i**2 + j**2 + k**2) < 14, 100.0, 0.0)
    ball = np.sqrt((i - 2) ** 2 + j**2 + (k + 3) ** 2) < 5.0
    voxels[(np.abs(i) < 3) & (j < -8) & (voxels > 0)] = 250.0  # brighter than any part, outside the region
    layer = 1 + np.clip(((k + 3 + 5) / 10 * len(parts)).astype(int), 0, len(parts) - 1)
    voxels[ball] = np.asarray(parts, dtype=float)[layer[ball] - 1]
    return voxels, np.where(ball, layer, 0)
