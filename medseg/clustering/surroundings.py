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
Drawn = npt.NDArray[np.int64]
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


def shares_around(posteriors: Features, prepared: Prepared, sigma_mm: float, drawn: Drawn | None = None) -> Features:
    """(V, K) posteriors of the foreground -> (V, K) their shares in the foreground around each voxel, summing to one.

    Args:
        sigma_mm: standard deviation of the Gaussian window.
        drawn: which foreground voxels V are; others have no share. None: all of them.
    """
    return Surroundings(prepared, sigma_mm, drawn).shares(posteriors)


def evenly_drawn(n: int, most: int) -> Drawn:
    """About `most` of the numbers 0..n-1, ascending, the same ones each time: one of each stretch, anywhere in it.

    Every n-th voxel would lie in the same planes where n divides the size of the volume.
    """
    stretch = max(1, n // most)
    return np.arange(n // stretch) * stretch + np.random.default_rng(0).integers(stretch, size=n // stretch)


class Surroundings:
    """The surroundings of the foreground voxels of one scan, for any number of posteriors.

    Means over blocks of half a standard deviation, smoothed there, and interpolated at the voxels of the foreground.

    Args:
        sigma_mm: standard deviation of the Gaussian window.
        drawn: which foreground voxels take part; None: all of them.
    """

    def __init__(self, prepared: Prepared, sigma_mm: float, drawn: Drawn | None = None) -> None:
        inside = arrays(prepared)[1]
        voxels = np.flatnonzero(inside) if drawn is None else np.flatnonzero(inside)[drawn]
        spacing = Geometry.of(prepared.image).spacing_in_person_mm
        axes = [_Axis.of(n, max(1, int(sigma_mm / s / 2))) for n, s in zip(inside.shape, spacing, strict=True)]
        self._sigma = [np.sqrt(max((sigma_mm / s) ** 2 - (x.block**2 - 1) / 12, 0.0)) / x.block
                       for s, x in zip(spacing, axes, strict=True)]  # fmt: skip
        self._shape = [axis.n for axis in axes]
        places = [x.astype(np.int32) for x in np.unravel_index(voxels, inside.shape)]
        self._means = _block_means(places, axes)
        self._starts = range(0, len(places[0]), _ROWS)
        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as threads:
            parts = [[x[start : start + _ROWS] for x in places] for start in self._starts]
            self._corners = list(threads.map(lambda part: _corners(part, axes), parts))

    def shares(self, posteriors: Features) -> Features:
        """(V, K) -> (V, K) float32, each row summing to one."""
        n_labels = posteriors.shape[1]
        pooled = np.asarray(self._means @ posteriors).reshape(*self._shape, n_labels)
        pooled = np.maximum(ndimage.gaussian_filter(pooled, [*self._sigma, 0.0], truncate=3).reshape(-1, n_labels), 0)
        found = np.empty(posteriors.shape, dtype=np.float32)
        ones = np.ones((n_labels, 1), dtype=np.float32)  # a product is faster than a sum over short rows

        def fill(start: int, corners: sparse.csr_matrix) -> None:
            part = corners @ pooled
            np.divide(part, np.maximum(part @ ones, 1e-6), out=found[start : start + len(part)])

        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as threads:
            list(threads.map(fill, self._starts, self._corners))
        return found


def _block_means(places: Sequence[Integers], axes: Sequence[_Axis]) -> sparse.csc_matrix:
    """(N, V) weights of the voxels in the mean of each block; 0 outside the foreground."""
    shape = [axis.n for axis in axes]
    block = np.ravel_multi_index([x // axis.block for x, axis in zip(places, axes, strict=True)], shape)
    share = np.prod([axis.share[x] for x, axis in zip(places, axes, strict=True)], axis=0, dtype=np.float32)
    return sparse.csc_matrix((share, block, np.arange(len(block) + 1)), shape=(int(np.prod(shape)), len(block)))


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
