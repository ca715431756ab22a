"""A phantom of two channels that needs both: two of its three regions have the same mean in the first one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.spatial.geometry import Geometry

MEANS = {1: (100.0, 60.0), 2: (100.0, 160.0), 3: (190.0, 110.0)}
"""Mean of each region in each channel; the background is 0."""

# (label, centre mm, semi-axes mm): later shapes lie on top of earlier ones.
_SHAPES = (
    (1, (0.0, 0.0, 0.0), (44.0, 48.0, 42.0)),
    (2, (-14.0, 8.0, 4.0), (20.0, 24.0, 22.0)),
    (3, (18.0, -14.0, -6.0), (16.0, 18.0, 18.0)),
)


def centred_grid(spacing_mm: float = 3.0, extent_mm: float = 108.0) -> Geometry:
    """A cube of voxels around the origin."""
    n = round(extent_mm / spacing_mm)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (n - 1) / 2
    return Geometry((n, n, n), affine)


def two_channels(
    geometry: Geometry, *, noise: float = 6.0, seed: int = 0, shift_mm: float = 0.0
) -> tuple[list[MetaTensor], npt.NDArray[np.uint8]]:
    """The phantom on a grid.

    Args:
        noise: standard deviation of Gaussian noise, inside the body.
        shift_mm: how far the inner regions lie from their place, so that two cases differ.

    Returns:
        Both channels, (1, I, J, K) float32 each, and the (I, J, K) labels 0 to 3.
    """
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1)
    points = geometry.to_world(indices.reshape(-1, 3))
    labels = np.zeros(len(points), dtype=np.uint8)
    for label, centre, axes in _SHAPES:
        moved = np.asarray(centre) + (shift_mm if label > 1 else 0.0)
        labels[(((points - moved) / np.asarray(axes)) ** 2).sum(axis=1) <= 1] = label
    randomness = np.random.default_rng(seed)
    channels = []
    for channel in range(2):
        means = np.array([0.0, *(MEANS[label][channel] for label in (1, 2, 3))])[labels]
        noisy = np.where(labels > 0, np.maximum(means + noise * randomness.standard_normal(len(means)), 1), 0)
        voxels = torch.from_numpy(noisy.reshape(1, *geometry.shape).astype(np.float32))
        channels.append(MetaTensor(voxels, affine=torch.from_numpy(geometry.affine.copy())))
    return channels, labels.reshape(geometry.shape)
