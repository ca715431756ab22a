"""Mixtures fitted to the histogram of one scan: fast, because a histogram has 192 bins whatever the scan's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_MIN_SD = 0.02
"""Floor of a Gaussian's standard deviation, as a share of the range of the tissue means: free ones run away."""


@dataclass(frozen=True)
class Histogram:
    """(B,) shares that sum to one at (B,) bin centres."""

    shares: Array
    centres: Array

    @classmethod
    def of(cls, values: npt.NDArray[np.floating], n_bins: int = 192) -> Histogram:
        """Histogram of (V,) values over their range."""
        counts, edges = np.histogram(values, n_bins)
        return cls(counts / counts.sum(), (edges[1:] + edges[:-1]) / 2)

    def at(self, values: npt.NDArray[np.floating], tables: Sequence[Array]) -> list[npt.NDArray[np.float64]]:
        """(V,) values -> each (B,) table interpolated linearly between the bin centres; its ends continue."""
        last = len(self.centres) - 1
        place = (values - self.centres[0]) * (last / max(self.centres[-1] - self.centres[0], 1e-300))
        place = np.clip(place, 0, last)
        lower = np.minimum(place.astype(np.intp), last - 1)
        share = place - lower
        return [table[lower] + share * np.diff(table)[lower] for table in tables]


def median_and_spread(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Median of (V,) values, and their standard deviation by the median absolute deviation; zeros for no values."""
    if not values.size:
        return 0.0, 0.0
    middle = np.median(values)
    return float(middle), 1.4826 * float(np.median(np.abs(values - middle)))


@dataclass(frozen=True)
class GaussianMixture1D:
    """(K,) means, standard deviations and shares, in ascending order of the start means."""

    means: Array
    sds: Array
    shares: Array

    def responsibilities(self, values: Array) -> Array:
        """(V,) values -> (V, K), rows sum to one."""
        weight = self.shares * np.exp(-0.5 * ((values[:, None] - self.means) / self.sds) ** 2) / self.sds + 1e-12
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def start_means(histogram: Histogram, n_tissues: int) -> Array:
    """(K,) ascending k-means centres of a histogram: the global optimum, by dynamic programming over the bins.

    Wang and Song, "Ckmeans.1d.dp", The R Journal 3:29, 2011.
    """
    shares, centres = histogram.shares, histogram.centres
    mass = np.r_[0, np.cumsum(shares)]
    first = np.r_[0, np.cumsum(shares * centres)]
    second = np.r_[0, np.cumsum(shares * centres**2)]
    # cost[a, b]: squared error of the bins a <= n < b around their mean; inf where there is no bin.
    weight = mass[None, :] - mass[:, None]
    moment = first[None, :] - first[:, None]
    cost = second[None, :] - second[:, None] - moment**2 / np.maximum(weight, 1e-12)
    cost = np.where(np.arange(len(mass))[:, None] < np.arange(len(mass))[None, :], np.maximum(cost, 0), np.inf)
    best, cuts = cost[0], []
    for _ in range(n_tissues - 1):
        total = best[:, None] + cost
        cuts.append(total.argmin(axis=0))
        best = total.min(axis=0)
    borders = [len(shares)]
    for cut in reversed(cuts):
        borders.append(int(cut[borders[-1]]))
    edges = [0, *sorted(borders)]
    means = [float(moment[a, b] / max(weight[a, b], 1e-12)) for a, b in pairwise(edges)]
    return np.asarray(means)


def gaussian_em(
    histogram: Histogram, n_tissues: int, *, start: GaussianMixture1D | None, n_rounds: int
) -> GaussianMixture1D:
    """EM of K Gaussians, from `start` or from k-means centres."""
    if start is None:
        means = start_means(histogram, n_tissues)
        sds, shares = np.full(n_tissues, 0.1 * float(np.abs(means).max())), np.full(n_tissues, 1 / n_tissues)
        start = GaussianMixture1D(means, sds, shares)
    mixture = start
    for _ in range(n_rounds):
        weight = mixture.responsibilities(histogram.centres) * histogram.shares[:, None]
        mass = weight.sum(axis=0) + 1e-12
        means = (weight * histogram.centres[:, None]).sum(axis=0) / mass
        variance = (weight * (histogram.centres[:, None] - means) ** 2).sum(axis=0) / mass
        floor = _MIN_SD * float(np.ptp(means))
        mixture = GaussianMixture1D(means, np.maximum(np.sqrt(variance), floor), mass / mass.sum())
    return mixture
