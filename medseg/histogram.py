"""Mixtures fitted to the histogram of one scan: fast, because a histogram has 300 bins whatever the scan's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
_PURE_SHARE = 0.02
"""Pseudo share of each pure tissue but the darkest, which keeps it from vanishing into its borders."""
_TIE = 0.05
"""Strength with which the tissues' log standard deviations hold together."""
_BEYOND = 10.0
"""Strength with which the means stay in the histogram's range: beyond it a sharp peak could be called mixed voxels."""
_SIMPLEX = {"maxfev": 300, "xatol": 1e-3, "fatol": 1e-6}
_LEAST_GAP = 0.5
"""Least distance between neighbouring tissues, as a share of that between the k-means centres."""
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


def pure_tissue_means(histogram: Histogram, n_tissues: int) -> Array:
    """(K,) ascending intensities of voxels that hold one tissue only.

    Voxels at tissue borders hold two, so the histogram is a mixture of K Gaussians and, between neighbours, of
    uniform mixing shares blurred by the same noise (Santago and Gage, IEEE TMI 12:566, 1993); fitted by maximum
    a posteriori with simplex searches from several starts.
    """
    middle = start_means(histogram, n_tissues)
    span = max(float(middle[-1] - middle[0]), 1e-6)
    # On clean images two tissues would share one sharp peak; k-means keeps them apart.
    least = _LEAST_GAP * np.maximum(np.diff(middle), 1e-3 * span)
    pseudo = pseudo_shares(n_tissues)

    def unpack(free: Array) -> tuple[Array, Array]:
        means = np.full(n_tissues, free[0])
        means[1:] += np.cumsum(least + np.exp(free[1:n_tissues]))
        return means, 0.01 * span + np.exp(free[n_tissues:])

    def cost(free: Array) -> float:
        means, sds = unpack(free)
        likelihood = partial_volume_likelihoods(histogram.centres, means, sds)
        shares = mixing_shares(likelihood, histogram.shares, pseudo, n_tissues)
        fit = histogram.shares @ np.log(likelihood @ shares + 1e-12) + pseudo @ np.log(shares + 1e-9)
        log_sds = free[n_tissues:]
        beyond = max(0.0, histogram.centres[0] - means[0], means[-1] - histogram.centres[-1]) / span
        return float(-fit + _BEYOND * beyond**2 + 0.5 * _TIE * ((log_sds - log_sds.mean()) ** 2).sum())

    found = []
    starts = ((middle, 0.1), (_stretched(histogram, middle), 0.1), (_peaks(histogram, middle), 0.02))
    for start, width in starts:
        gaps = np.log(np.maximum(np.diff(start) - least, 0.05 * span))
        first = np.r_[start[0], gaps, np.full(n_tissues, np.log(width * span))]
        found.append(minimize(cost, first, method="Nelder-Mead", options=_SIMPLEX))
    best: Array = min(found, key=lambda result: float(result.fun)).x
    return np.asarray(unpack(best)[0])


def _stretched(histogram: Histogram, means: Array) -> Array:
    """The means with the outer two at the ends of the histogram: a tissue may have no pure voxel at all."""
    below = np.cumsum(histogram.shares)
    ends = np.interp((0.01, 0.97), below, histogram.centres)
    return np.asarray(np.r_[min(ends[0], means[0]), means[1:-1], max(ends[1], means[-1])])


def _peaks(histogram: Histogram, means: Array) -> Array:
    """The highest bin near each mean: on clean images the tissues are sharp peaks that a wide start misses."""
    nearest = np.abs(histogram.centres[:, None] - means).argmin(axis=1)
    return np.array([histogram.centres[np.argmax(histogram.shares * (nearest == k))] for k in range(len(means))])


def pseudo_shares(n_tissues: int) -> Array:
    """(3K - 2,) pseudo shares of the components of `partial_volume_likelihoods`."""
    return np.asarray(np.r_[0.0, np.full(n_tissues - 1, _PURE_SHARE), np.zeros(2 * (n_tissues - 1))])


def partial_volume_likelihoods(values: Array, means: Array, sds: Array) -> Array:
    """(B, 3K - 2) of (B,) values: K pure tissues, then the two halves of the way between each pair of neighbours."""
    z = (values - means[:, None]) / sds[:, None]
    pure = np.exp(-0.5 * z * z) / (sds[:, None] * np.sqrt(2 * np.pi))
    ends = np.repeat(means, 2)[1:-1].reshape(-1, 2)
    middles = ends.mean(axis=1)
    low, high = ends.copy(), ends.copy()
    low[:, 1] = high[:, 0] = middles
    low, high, sd = low.reshape(-1, 1), high.reshape(-1, 1), np.repeat(sds, 2)[1:-1, None]
    mixed = (ndtr((values - low) / sd) - ndtr((values - high) / sd)) / (high - low)
    return np.concatenate([pure, mixed]).T


def mixing_shares(likelihood: Array, histogram: Array, pseudo: Array, n_tissues: int, n_rounds: int = 12) -> Array:
    """EM of the components' shares with pseudo counts."""
    shares: Array = np.ones(likelihood.shape[1])
    shares[:n_tissues] = 2.0
    shares /= shares.sum()
    for _ in range(n_rounds):
        shares = shares * ((histogram / (likelihood @ shares + 1e-30)) @ likelihood) + pseudo
        shares /= shares.sum()
    return shares
