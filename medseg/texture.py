"""Local texture: how much of each kind of detail there is around a voxel, whatever its sign and mean.

Filters are the principal components of the cohort's 3x3x3 patches, which is what a linear convolutional autoencoder
learns (Baldi and Hornik, Neural Networks 2:53, 1989); their squared responses, pooled, are second-order statistics
of the neighbourhood (Laws' texture energy, 1980). The logarithm is taken before pooling, so that a loud region
leaks little into a quiet neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from medseg.geometry import Geometry
from medseg.preprocessing import Prepared

Array = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.float32]
N_FILTERS = 10
_PRE_POOL_VOXELS = 0.7
_FLOOR = 3e-3
"""Energy below this share of a filter's variance counts as none, so that the logarithm of nothing stays finite."""


def learn_filters(prepared: Sequence[Prepared], seed: int, n_samples: int = 20_000) -> Array:
    """(N_FILTERS, 3, 3, 3) principal components of patches whose centre lies in the foreground."""
    randomness = np.random.default_rng(seed)
    rows = []
    for item in prepared:
        voxels, inside = arrays(item)
        where = np.argwhere(inside[1:-1, 1:-1, 1:-1]) + 1
        i, j, k = where[randomness.integers(len(where), size=max(1, n_samples // len(prepared)))].T
        rows.append(np.stack([voxels[i + a, j + b, k + c] for a, b, c in product((-1, 0, 1), repeat=3)], axis=1))
    _, vectors = np.linalg.eigh(np.cov(np.concatenate(rows).T))
    return np.ascontiguousarray(vectors[:, ::-1].T[:N_FILTERS]).reshape(N_FILTERS, 3, 3, 3)


def log_energies(prepared: Prepared, filters: Array, pool_mm: float) -> Rows:
    """(V, N_FILTERS) pooled log energies of the V foreground voxels, on the working grid."""
    voxels, inside = arrays(prepared)
    standard = ((voxels - voxels[inside].mean()) / max(float(voxels[inside].std()), 1e-6)).astype(np.float32)
    kernels = torch.as_tensor(filters, dtype=torch.float32)[:, None]
    padded = functional.pad(torch.from_numpy(standard)[None, None], [1] * 6, mode="replicate")
    pooled = pooling(inside, pool_mm, Geometry.of(prepared.image).spacing_mm)
    columns = np.empty((int(inside.sum()), len(kernels)), dtype=np.float32)
    for number, kernel in enumerate(kernels):
        response = functional.conv3d(padded, kernel[None])[0, 0].numpy()
        energy = ndimage.gaussian_filter(response**2, _PRE_POOL_VOXELS) + _FLOOR * float(response.var())
        columns[:, number] = pooled(np.log(energy))[inside]
    return columns


def arrays(prepared: Prepared) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(I, J, K) intensities and foreground."""
    return prepared.image.as_tensor()[0].cpu().numpy(), prepared.foreground.as_tensor()[0].cpu().numpy() > 0


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
