"""Local texture: how much of each kind of detail there is around a voxel, whatever its sign and mean.

Filters are the principal components of the cohort's 3x3x3 patches, which is what a linear convolutional autoencoder
learns (Baldi and Hornik, Neural Networks 2:53, 1989); their squared responses, pooled, are second-order statistics
of the neighbourhood (Laws' texture energy, 1980). The logarithm is taken before pooling, so that a loud region
leaks little into a quiet neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from medseg.preprocessing.prepare import Prepared, arrays
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import pooling

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
