"""A whole head around the phantom: scalp, which is bright fat, and skull, which is dark, and the brain inside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom

BRAIN_MM = (62.0, 70.0, 58.0)
"""Semi-axes of the phantom's outermost shape, the brain."""
SKULL_MM, SCALP_MM = 8.0, 7.0
SKULL, SCALP, AIR = 8.0, 240.0, 2.0


def head_grid(spacing_mm: float = 3.0) -> Geometry:
    """A field of view with air around the head."""
    shape = [int(2 * (axis + SKULL_MM + SCALP_MM + 10) / spacing_mm) for axis in BRAIN_MM]
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (np.asarray(shape) - 1) / 2
    return Geometry((shape[0], shape[1], shape[2]), affine)


def head(geometry: Geometry, *, noise: float = 8.0, seed: int = 0) -> tuple[MetaTensor, npt.NDArray[np.bool_]]:
    """The head on a grid, air with noise around it.

    Returns:
        (1, I, J, K) float32 image and its (I, J, K) brain.
    """
    brain, labels = phantom(geometry)
    voxels = brain.as_tensor()[0].numpy().copy()
    inside = np.asarray(labels) > 0
    for thickness, value in ((SKULL_MM, SKULL), (SCALP_MM + SKULL_MM, SCALP)):
        layer = (voxels == 0) & (_size_of(geometry, thickness) <= 1)
        voxels[layer] = value
    voxels[voxels == 0] = AIR
    noisy = np.abs(voxels + noise * np.random.default_rng(seed).standard_normal(voxels.shape))
    return MetaTensor(torch.from_numpy(noisy[None].astype(np.float32)), affine=brain.affine), inside


def _size_of(geometry: Geometry, beyond_mm: float) -> npt.NDArray[np.float64]:
    """(I, J, K): where 1 is the surface of the brain moved outwards by so much."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1)
    points = geometry.to_world(indices.reshape(-1, 3)) / (np.asarray(BRAIN_MM) + beyond_mm)
    return np.asarray(np.linalg.norm(points, axis=1).reshape(geometry.shape))
