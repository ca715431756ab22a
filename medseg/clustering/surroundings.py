"""What a voxel's surroundings consist of: all labels at once, on a grid as coarse as the window allows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, sparse

from medseg.clustering.mixture import Features
from medseg.preprocessing.prepare import Prepared, arrays
from medseg.spatial.geometry import Geometry

Integers = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
_ROWS = 100_000
"""Voxels that are interpolated at a time."""


class _Axis(NamedTuple):
    """One axis of the coarse grid.

    Attributes:
        block: voxels of the working grid in one of the coarse grid.
        n: coarse voxels; the last one holds the border voxel again where blocks do not come out even.
        share: (I,) of each voxel in the mean of its block.
        low, above: (I,) coarse voxel before each voxel's centre, and how far the centre lies towards the next; the
            border value continues.
    """

    block: int
    n: int
    share: Weights
    low: Integers
    above: Weights

    @classmethod
    def of(cls, size: int, block: int) -> _Axis:
        n, count = -(-size // block), np.ones(size)
        count[-1] += -size % block
        place = np.clip((np.arange(size) - (block - 1) / 2) / block, 0, n - 1)
        low = np.minimum(place.astype(np.int32), max(n - 2, 0)).astype(np.int32)
        return cls(block, n, (count / block).astype(np.float32), low, (place - low).astype(np.float32))


def shares_around(posteriors: Features, prepared: Prepared, sigma_mm: float) -> Features:
    """(V, K) posteriors of the foreground -> (V, K) their shares in the foreground around each voxel, summing to one.

    Means over blocks of half a standard deviation, smoothed there, and interpolated at the voxels of the foreground.

    Args:
        sigma_mm: standard deviation of the Gaussian window.
    """
    inside = arrays(prepared)[1]
    spacing = Geometry.of(prepared.image).spacing_in_person_mm
    axes = [_Axis.of(n, max(1, int(sigma_mm / s / 2))) for n, s in zip(inside.shape, spacing, strict=True)]
    sigma = [np.sqrt(max((sigma_mm / s) ** 2 - (x.block**2 - 1) / 12, 0.0)) / x.block
             for s, x in zip(spacing, axes, strict=True)]  # fmt: skip
    places = [along.astype(np.int32) for along in np.nonzero(inside)]
    pooled = _block_means(posteriors, places, axes)
    pooled = ndimage.gaussian_filter(pooled, [*sigma, 0.0], truncate=3).reshape(-1, posteriors.shape[1])
    found = np.maximum(_interpolated(pooled, places, axes), 0)
    return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-6))


def _block_means(posteriors: Features, places: Sequence[Integers], axes: Sequence[_Axis]) -> Features:
    """(V, K) -> (*coarse grid, K): means over blocks, 0 outside the foreground."""
    shape = [axis.n for axis in axes]
    block = np.ravel_multi_index([x // axis.block for x, axis in zip(places, axes, strict=True)], shape)
    share = np.prod([axis.share[x] for x, axis in zip(places, axes, strict=True)], axis=0, dtype=np.float32)
    rows = np.arange(len(block) + 1)
    joined = sparse.csc_matrix((share, block, rows), shape=(int(np.prod(shape)), len(block)))
    return np.asarray(joined @ posteriors).reshape(*shape, -1)


def _interpolated(pooled: Features, places: Sequence[Integers], axes: Sequence[_Axis]) -> Features:
    """(N, K) of the coarse grid -> (V, K), linear between its eight voxels around each place."""
    found = np.empty((len(places[0]), pooled.shape[1]), dtype=np.float32)

    def fill(start: int) -> None:
        part = slice(start, start + _ROWS)
        found[part] = _corners([x[part] for x in places], axes) @ pooled

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as threads:
        list(threads.map(fill, range(0, len(found), _ROWS)))
    return found


def _corners(places: Sequence[Integers], axes: Sequence[_Axis]) -> sparse.csr_matrix:
    """(V, N) weights of the coarse voxels at each place."""
    shape = [axis.n for axis in axes]
    weights, columns = np.empty((len(places[0]), 8), np.float32), np.empty((len(places[0]), 8), np.int32)
    for number, corner in enumerate(product((0, 1), repeat=3)):
        at = [np.minimum(axis.low[x] + c, axis.n - 1) for x, axis, c in zip(places, axes, corner, strict=True)]
        columns[:, number] = np.ravel_multi_index(at, shape)
        parts = [axis.above[x] if c else 1 - axis.above[x] for x, axis, c in zip(places, axes, corner, strict=True)]
        weights[:, number] = parts[0] * parts[1] * parts[2]
    ends = np.arange(0, 8 * len(weights) + 1, 8)
    return sparse.csr_matrix((weights.ravel(), columns.ravel(), ends), shape=(len(weights), int(np.prod(shape))))
