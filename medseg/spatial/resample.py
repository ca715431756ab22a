"""`resample`, the only way between grids: linear or nearest, in slabs of bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from torch.nn import functional

from medseg.spatial.geometry import FloatArray, Geometry

_ON_GRID = 1e-6
"""Distance in voxels up to which a sampling point lies on a voxel centre."""


def resample(
    image: MetaTensor,
    onto: Geometry,
    mode: Literal["linear", "nearest"] = "linear",
    *,
    slices: FloatArray | None = None,
    sigma: Sequence[float] = (0.0, 0.0, 0.0),
    slab_voxels: int = 4_000_000,
) -> MetaTensor:
    """Sample (C, I, J, K) `image` at the voxel centres of `onto`; outside it the border value continues.

    Args:
        sigma: Gaussian smoothing before sampling, in voxels along i, j, k; only between grids with parallel axes.
        slices: (K,) for slices at unequal distances, where on the k axis of the image's affine each one lies,
            ascending in voxels; left out when slice k lies at k.

    Works in slabs of at most `slab_voxels` sampling points, so that the coordinates never need more than
    a few ten MB whatever the size of the grid.

    Returns:
        (C, *onto.shape) float32 on the grid `onto`, on the device of `image`.

    Raises:
        ValueError: smoothing between grids at an angle.
    """
    source = Geometry.of(image)
    planes = max(1, slab_voxels // (onto.shape[0] * onto.shape[1]))
    voxels = image.as_tensor()
    out = torch.empty((image.shape[0], *onto.shape), dtype=torch.float32, device=voxels.device)
    for start in range(0, onto.shape[2], planes):
        stop = min(start + planes, onto.shape[2])
        slab = onto.crop((0, 0, start), (*onto.shape[:2], stop - start))
        out[..., start:stop] = _sample(voxels, source, slab, mode, slices, sigma)
    return MetaTensor(out, affine=torch.from_numpy(onto.affine.copy()))


def _sample(
    voxels: torch.Tensor,
    source: Geometry,
    onto: Geometry,
    mode: str,
    slices: FloatArray | None,
    sigma: Sequence[float],
) -> torch.Tensor:
    """(C, I, J, K) voxels of `source` at the voxel centres of `onto`."""
    step = np.linalg.inv(source.affine) @ onto.affine
    order = np.argmax(np.abs(step[:3, :3]), axis=1)
    off_axis = step[:3, :3].copy()
    off_axis[range(3), order] = 0
    reach = np.abs(off_axis) @ np.asarray(onto.shape)
    if sorted(order) == [0, 1, 2] and reach.max() < 1e-3:
        return _sample_aligned(voxels, step, [int(a) for a in order], onto.shape, mode, slices, sigma)
    if any(sigma):
        raise ValueError("smoothing needs grids with parallel axes")
    if slices is None:
        voxels, step = _reached(voxels, step, onto.shape)
    return _sample_oblique(voxels.float(), step, onto.shape, mode, slices)


def _reached(voxels: torch.Tensor, step: FloatArray, shape: tuple[int, int, int]) -> tuple[torch.Tensor, FloatArray]:
    """The part of the source that a target grid reaches, and the step from the target to it."""
    ends = np.array([[a, b, c, 1] for a in (0, shape[0] - 1) for b in (0, shape[1] - 1) for c in (0, shape[2] - 1)])
    corners = ends @ step[:3].T
    last = np.asarray(voxels.shape[1:]) - 1
    first = np.clip(np.floor(corners.min(axis=0)) - 1, 0, last).astype(int)
    stop = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, last).astype(int) + 1
    moved = step.copy()
    moved[:3, 3] -= first
    return voxels[(slice(None), *map(slice, first, stop))], moved


def _stored(positions: torch.Tensor, slices: FloatArray | None) -> torch.Tensor:
    """Positions on the k axis -> positions among the stored slices."""
    if slices is None:
        return positions
    found = np.interp(positions.cpu().numpy(), slices, np.arange(len(slices), dtype=np.float64))
    return torch.from_numpy(found).to(positions.device)


def _sample_aligned(
    voxels: torch.Tensor,
    step: FloatArray,
    order: list[int],
    shape: tuple[int, int, int],
    mode: str,
    slices: FloatArray | None,
    sigma: Sequence[float],
) -> torch.Tensor:
    """Grids with parallel axes: along each, voxels are taken as they are or by one matrix product.

    `order[a]` is the target axis along source axis a.
    """
    steps = []
    for axis, other in enumerate(order):
        along = None if slices is None or axis != 2 else tuple(slices.tolist())
        line = _Line(float(step[axis, other]), float(step[axis, 3]), shape[other], voxels.shape[axis + 1], mode, along)
        first, n_used, weights = _used_weights(line, float(sigma[axis]), voxels.device)
        voxels = voxels.narrow(axis + 1, first, n_used)
        steps.append(weights)
    for axis, (other, weights) in enumerate(zip(order, steps, strict=True)):
        if weights is None:
            continue
        if weights.dtype == torch.int64:
            voxels = voxels.index_select(axis + 1, weights)
            continue
        voxels = voxels.float()
        front, rest = voxels.shape[: axis + 1], voxels.shape[axis + 2 :]
        columns = voxels.reshape(-1, voxels.shape[axis + 1], int(np.prod(rest)))
        columns = columns[..., 0] @ weights.T if columns.shape[-1] == 1 else weights @ columns
        voxels = columns.reshape(*front, shape[other], *rest)
    return voxels.float().permute(0, *(order.index(axis) + 1 for axis in range(3)))


class _Line(NamedTuple):
    """Sampling points along one axis of the source: every `step` voxels from `start`, `n` of them.

    Attributes:
        slices: where the stored slices lie, when their distances are unequal.
    """

    step: float
    start: float
    n: int
    n_source: int
    mode: str
    slices: tuple[float, ...] | None


@lru_cache(maxsize=12)
def _used_weights(line: _Line, sigma: float, device: torch.device) -> tuple[int, int, torch.Tensor | None]:
    """The first voxel that the line uses, how many, and how they are mixed, on `device`; never changed.

    Every label and every slab of a scan asks for the same ones. Decided on the host, so that no device is asked.

    Returns:
        As the last: (n, n_used) weights; (n,) whole numbers, where voxels are taken as they are; None for all of them.
    """
    positions = torch.arange(line.n, dtype=torch.float64) * line.step + line.start
    positions = _stored(positions, None if line.slices is None else np.asarray(line.slices))
    weights = _weights(positions, line.n_source, line.mode)
    if sigma:
        weights = weights @ _gaussian(line.n_source, sigma)
    # Only what the target reaches: a slab must not cost what the whole volume costs.
    used = torch.nonzero(weights.any(dim=0)).flatten()
    first, n_used = int(used[0]), int(used[-1] - used[0]) + 1
    weights = weights[:, first : first + n_used]
    share, chosen = weights.max(dim=1)
    if not bool((share > 1 - _ON_GRID).all()):
        return first, n_used, weights.to(device)
    return first, n_used, None if torch.equal(chosen, torch.arange(n_used)) else chosen.to(device)


def _weights(positions: torch.Tensor, n_source: int, mode: str) -> torch.Tensor:
    """(N, n_source) interpolation weights at continuous source positions; each row sums to one."""
    positions = positions.clamp(0, n_source - 1)
    if mode == "nearest":
        positions = positions.round()
    return (1 - (positions[:, None] - torch.arange(n_source)).abs()).clamp_min(0).float()


def _gaussian(n: int, sigma: float) -> torch.Tensor:
    """(n, n) matrix that smooths n values over 3 sigma to either side; the border value continues."""
    offsets = torch.arange(-int(np.ceil(3 * sigma)), int(np.ceil(3 * sigma)) + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    columns = (torch.arange(n)[:, None] + offsets).clamp(0, n - 1)
    return torch.zeros(n, n).scatter_add_(1, columns, (kernel / kernel.sum()).expand(n, -1))


def _sample_oblique(
    voxels: torch.Tensor, step: FloatArray, shape: tuple[int, int, int], mode: str, slices: FloatArray | None
) -> torch.Tensor:
    """Grids at an angle: trilinear or nearest `grid_sample`."""
    source = tuple(voxels.shape[1:])
    # grid_sample counts a border-aligned axis from -1 to 1 and wants the last axis first.
    scale = 2.0 / np.maximum(np.asarray(source) - 1, 1)
    theta = torch.as_tensor(step[:3] * scale[:, None], dtype=torch.float64)
    theta[:, 3] -= 1.0
    theta[torch.tensor([n == 1 for n in source])] = 0.0
    axes = [torch.arange(n, dtype=torch.float64, device=voxels.device) for n in shape]
    views = [axis.reshape([-1 if a == b else 1 for b in range(3)]) for a, axis in enumerate(axes)]
    # Numbers of the host take part on any device, and nothing is sent.
    points = [row[3] + sum(view * factor for view, factor in zip(views, row[:3], strict=True)) for row in theta]
    if slices is not None:
        points[2] = _stored((points[2] + 1) / scale[2], slices) * scale[2] - 1
    grid = torch.stack([along.float() for along in reversed(points)], dim=-1)[None]
    interpolation = "bilinear" if mode == "linear" else mode
    return functional.grid_sample(voxels[None], grid, interpolation, padding_mode="border", align_corners=True)[0]
