"""A phantom of known truth that can be sampled on any grid: three nested tissues and two off-centre organs.

Every region is given by its signed distance in world coordinates, with an edge of 1 mm width, so the same
phantom on two grids shows the same body in the same place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.spatial.geometry import Geometry

INTENSITIES = {1: 60.0, 2: 150.0, 3: 220.0}
"""Mean intensity of each label; the background is 0."""
EDGE_MM = 1.0

# (label, centre mm, semi-axes mm): later shapes lie on top of earlier ones. No symmetry, so flips show.
_SHAPES = (
    (1, (0.0, 0.0, 0.0), (62.0, 70.0, 58.0)),
    (2, (0.0, 2.0, -2.0), (44.0, 51.0, 41.0)),
    (3, (-14.0, 12.0, 8.0), (24.0, 27.0, 22.0)),
    (1, (18.0, -20.0, -10.0), (13.0, 12.0, 13.0)),
)


def grids() -> dict[str, Geometry]:
    """The grids on which a method must show the same body: 1.5 mm axis-aligned, oblique, thick slices."""

    def grid(spacing: tuple[float, float, float], axes: npt.ArrayLike) -> Geometry:
        directions = np.asarray(axes, dtype=np.float64) * spacing
        shape = np.ceil(np.abs(np.linalg.inv(directions)) @ np.array([140.0, 156.0, 132.0])).astype(int)
        affine = np.eye(4)
        affine[:3, :3] = directions
        affine[:3, 3] = -directions @ ((shape - 1) / 2)
        return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    angle = np.deg2rad(17.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    nod = np.array([[1.0, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    return {
        "RAS": grid((1.5, 1.5, 1.5), np.eye(3)),
        "LPS": grid((1.5, 1.5, 1.5), np.diag([-1.0, -1.0, 1.0])),
        "PIR": grid((1.5, 1.5, 1.5), [[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]]),
        "oblique": grid((1.5, 1.5, 1.5), turn @ nod),
        "thick": grid((0.7, 0.7, 5.0), np.eye(3)),
    }


def phantom(geometry: Geometry, *, noise: float = 0.0, seed: int = 0) -> tuple[MetaTensor, npt.NDArray[np.uint8]]:
    """The phantom on a grid.

    Args:
        noise: standard deviation of Gaussian noise; intensities go up to 220.

    Returns:
        (1, I, J, K) float32 image, 0 outside the body, and its (I, J, K) labels 0 to 3.
    """
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1)
    points = geometry.to_world(indices.reshape(-1, 3))
    image, labels = np.zeros(len(points)), np.zeros(len(points), dtype=np.uint8)
    body = np.zeros(len(points))
    for label, centre, axes in _SHAPES:
        offset = (points - centre) / np.asarray(axes)
        distance = (1.0 - np.linalg.norm(offset, axis=1)) * min(axes)
        share = np.clip(distance / EDGE_MM + 0.5, 0, 1)
        image = image * (1 - share) + INTENSITIES[label] * share
        body = np.maximum(body, share)
        labels[share >= 0.5] = label
    if noise:
        image = np.where(
            body > 0, np.maximum(image + noise * np.random.default_rng(seed).standard_normal(len(image)), 1), 0
        )
    voxels = torch.from_numpy(image.reshape(1, *geometry.shape).astype(np.float32))
    return MetaTensor(voxels, affine=torch.from_numpy(geometry.affine.copy())), labels.reshape(geometry.shape)
