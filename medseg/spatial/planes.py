"""Three planes through the middle of a scan, thin enough to be looked at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

Pixels = npt.NDArray[np.uint8]


SIDE = 192
"""Pixels along the longest axis of a picture's planes."""


class Plane(NamedTuple):
    """A grid in RAS order, one voxel thick along `axis`, and its (a, b) grey values; None where there is no image."""

    grid: Geometry
    axis: int
    grey: Pixels | None


def middle_planes(image: MetaTensor) -> tuple[Plane, ...]:
    """Axial, coronal and sagittal plane through the middle of a (C, I, J, K) image, from its first channel.

    Intensities run from percentile 1 to 99.5 of the planes.
    """
    first = MetaTensor(image.as_tensor()[:1], affine=image.affine)
    planes = empty_planes(Geometry.of(image))
    values = [resample(first, p.grid, "nearest").as_tensor()[0].cpu().numpy().squeeze(p.axis) for p in planes]
    low, high = np.percentile(np.concatenate([v.ravel() for v in values]), (1, 99.5))
    scaled = [np.clip((v - low) / max(float(high - low), 1e-6), 0, 1) * 255 for v in values]
    return tuple(p._replace(grey=v.astype(np.uint8)) for p, v in zip(planes, scaled, strict=True))


def empty_planes(geometry: Geometry) -> tuple[Plane, ...]:
    """The same planes of a grid without an image, at most `SIDE` voxels along an axis."""
    ras = geometry.in_ras_order()
    planes = []
    for axis in (2, 1, 0):
        start, shape, step = [0, 0, 0], list(ras.shape), [1.0, 1.0, 1.0]
        start[axis], shape[axis] = ras.shape[axis] // 2, 1
        for other in {0, 1, 2} - {axis}:
            step[other] = max(1.0, ras.shape[other] / SIDE)
            shape[other] = int((ras.shape[other] - 1) / step[other]) + 1
        cut = ras.crop(start, shape)
        planes.append(Plane(Geometry(cut.shape, cut.affine @ np.diag([*step, 1.0])), axis, None))
    return tuple(planes)
