"""Smooth fields over a scan: kernel regression on a coarse lattice, resampled where they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

Array = npt.NDArray[np.float32]
CELL_MM = 8.0
_THIN_ABOVE = 500_000
"""Foregrounds of more voxels are thinned to every second voxel along each axis: the fields are smooth."""


class FieldRegression:
    """Smooths values given at the (thinned) foreground with a Gaussian of `sigma_mm`, of a person (`in_person_mm`).

    Args:
        foreground: (1, I, J, K) of 0 and 1.
    """

    def __init__(self, foreground: MetaTensor, sigma_mm: float) -> None:
        inside = foreground.as_tensor()[0].cpu().numpy() > 0
        step = 2 if inside.sum() > _THIN_ABOVE else 1
        self._thin = (slice(None, None, step),) * 3
        self._voxels = np.flatnonzero(inside[self._thin])
        geometry = Geometry.of(foreground)
        self._geometry = geometry.every(step)
        spacing = [step * s for s in geometry.spacing_in_person_mm]
        self._cell = tuple(max(1, round(CELL_MM / s)) for s in spacing)
        self._lattice = self._geometry.lattice(self._cell)
        self._sigma = [sigma_mm / (c * s) for c, s in zip(self._cell, spacing, strict=True)]
        cells = [np.arange(n, dtype=np.int32) // c for n, c in zip(inside[self._thin].shape, self._cell, strict=True)]
        numbers = np.ravel_multi_index(np.ix_(*cells), self._lattice.shape)
        self._cell_of = numbers.ravel()[self._voxels]

    def pick(self, image: MetaTensor) -> Array:
        """(V,) values of a (1, I, J, K) image at the voxels that take part."""
        voxels = image.as_tensor()[0].cpu().numpy()[self._thin]
        return np.asarray(voxels.ravel()[self._voxels], dtype=np.float32)

    def smooth(self, values: npt.NDArray[np.floating], width: float = 1.0) -> Array:
        """(V,) values -> their sums on the coarse lattice, (i, j, k), smoothed by `width` times the kernel."""
        sums = np.bincount(self._cell_of, values, np.prod(self._lattice.shape)).reshape(self._lattice.shape)
        return np.asarray(
            ndimage.gaussian_filter(sums, [width * s for s in self._sigma], mode="constant"), dtype=np.float32
        )

    def as_image(self, coarse: Array) -> MetaTensor:
        """(1, i, j, k) on the lattice; `resample` brings it to any grid."""
        return MetaTensor(torch.from_numpy(coarse[None].copy()), affine=torch.tensor(self._lattice.affine))

    def at_voxels(self, coarse: Array) -> Array:
        """(V,) values of a coarse field at the voxels that take part."""
        fine = resample(self.as_image(coarse), self._geometry).as_tensor()[0].numpy()
        return np.asarray(fine.ravel()[self._voxels], dtype=np.float32)


Volume = npt.NDArray[np.float32]


Mask = npt.NDArray[np.bool_]


def pool(volume: Volume, inside: Mask, sigma_mm: float, spacing_mm: Sequence[float]) -> Volume:
    """Gaussian mean over the foreground only, (I, J, K)."""
    if sigma_mm == 0:
        return volume
    sigma = [sigma_mm / s for s in spacing_mm]
    with ThreadPoolExecutor(max_workers=1) as beside:  # each leaves a core idle
        weight = beside.submit(_weight, inside, sigma)
        smooth = _blurred(volume, inside, sigma)
    return np.asarray(np.divide(smooth, weight.result(), out=smooth))


def kept_variance(sigma_mm: float, spacing_mm: Sequence[float]) -> float:
    """Share of the variance of white noise that `pool` leaves: the sum of its squared weights."""
    impulse = np.zeros([2 * math.ceil(4 * sigma_mm / s) + 1 for s in spacing_mm])
    impulse[tuple(n // 2 for n in impulse.shape)] = 1.0
    return float((ndimage.gaussian_filter(impulse, [sigma_mm / s for s in spacing_mm]) ** 2).sum())


def pooling(inside: Mask, sigma_mm: float, spacing_mm: Sequence[float]) -> Callable[[Volume], Volume]:
    """Gaussian mean over this foreground, of any number of (I, J, K) volumes."""
    sigma = [sigma_mm / s for s in spacing_mm]
    weight = _weight(inside, sigma)

    def pooled(volume: Volume) -> Volume:
        smooth = _blurred(volume, inside, sigma)
        return np.asarray(np.divide(smooth, weight, out=smooth))

    return pooled


def _weight(inside: Mask, sigma: Sequence[float]) -> Volume:
    """The kernel's share inside."""
    return np.asarray(np.maximum(ndimage.gaussian_filter(inside.astype(np.float32), sigma), 1e-3))


def _blurred(volume: Volume, inside: Mask, sigma: Sequence[float]) -> Volume:
    return np.asarray(ndimage.gaussian_filter(np.where(inside, volume, 0).astype(np.float32, copy=False), sigma))
