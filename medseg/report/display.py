"""A scan as it is looked at: its intensity window, its grey values, its labels and their confidence on a small grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.model.segmentation import LabelArray, Segmentation
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

Pixels = npt.NDArray[np.uint8]
_WINDOW_VOXELS, _LEAST_WINDOW_VOXELS = 1_000_000, 1000
"""Voxels of a volume that its window is found from, and the labelled ones that must be among them."""


def window_of(image: MetaTensor, labels: LabelArray) -> tuple[float, float]:
    """Percentiles 1 and 99.5 of the labelled voxels of a (1, I, J, K) image, of a part of them where they are many.

    Without labels: of all voxels.
    """
    voxels, inside = image.as_tensor()[0].cpu().numpy(), labels > 0
    step = max(1, round((labels.size / _WINDOW_VOXELS) ** (1 / 3)))
    part = (slice(None, None, step),) * 3
    chosen = voxels[part][inside[part]]
    if chosen.size < _LEAST_WINDOW_VOXELS:
        chosen = voxels[inside] if inside.any() else voxels
    low, high = np.percentile(chosen, (1, 99.5))
    return float(low), float(high)


def to_grey(image: MetaTensor, window: tuple[float, float]) -> Pixels:
    """(1, I, J, K) intensities as (I, J, K) of 0..255 over the window."""
    low, high = window
    grey = image.as_tensor()[0].cpu().numpy() - np.float32(low)
    grey *= np.float32(255 / max(high - low, 1e-6))
    return np.asarray(np.clip(grey, 0, 255, out=grey), dtype=np.uint8)


def labels_at(grid: Geometry, labels: LabelArray, native: Geometry) -> npt.NDArray[np.uint16]:
    """The label of the voxel nearest to each voxel centre of `grid`; beyond the native grid its border continues."""
    voxels = MetaTensor(torch.from_numpy(labels)[None], affine=torch.from_numpy(native.affine.copy()))
    return resample(voxels, grid, "nearest").as_tensor()[0].cpu().numpy().astype(np.uint16)


def outside_of(grid: Geometry, native: Geometry) -> npt.NDArray[np.bool_]:
    """(I, J, K) voxels of `grid` that lie beyond the native one, where `resample` only continues its border."""
    step = np.linalg.inv(native.affine) @ grid.affine
    i, j, k = np.ogrid[tuple(slice(n) for n in grid.shape)]
    outside = np.zeros(grid.shape, dtype=bool)
    for axis, size in enumerate(native.shape):
        parts = step[axis, 0] * i + step[axis, 3], step[axis, 1] * j, step[axis, 2] * k
        low, high = sum(part.min() for part in parts), sum(part.max() for part in parts)
        if low < -0.501 or high > size - 0.499:
            place = parts[0] + parts[1] + parts[2]
            outside |= (place < -0.501) | (place > size - 0.499)
    return outside


def known_confidence(result: Segmentation) -> MetaTensor | None:
    """(2, i, j, k) confidence 0..255, and 1 where there is one; None when it is not known."""
    sure, affine = None, torch.tensor(result.geometry.affine)
    if result.coarse_confidence is not None:
        sure, affine = result.coarse_confidence.as_tensor(), result.coarse_confidence.affine
    elif result.confidence is not None:
        sure = torch.from_numpy(result.confidence[None])
    return None if sure is None else MetaTensor(torch.cat([sure, (sure > 0).to(sure.dtype)]), affine=affine)


def confidence_at(grid: Geometry, known: MetaTensor, inside: npt.NDArray[np.bool_]) -> Pixels:
    """`known_confidence` at the voxel centres of `grid` that are `inside`, 1..255; 0 elsewhere."""
    total, weight = resample(known, grid).as_tensor().cpu().numpy()
    # Voxels without a label have no confidence: they must not make their neighbours look unsure.
    found = np.rint(total / np.maximum(weight, 1e-6)).clip(1, 255)
    return np.where(inside & (weight > 0), found, 0).astype(np.uint8)
