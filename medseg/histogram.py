"""Mixtures fitted to the histogram of one scan: fast, because a histogram has 300 bins whatever the scan's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
_MIN_SD = 0.02
"""Floor of a Gaussian's standard deviation, as a share of the range of the tissue means: free ones run away."""


@dataclass(frozen=True)
class Histogram:
    """(B,) shares that sum to one at (B,) bin centres."""

    shares: Array
    centres: Array

    @classmethod
    def of(cls, values: npt.NDArray[np.floating], n_bins: int = 300) -> Histogram:
        """Histogram of (V,) values over their range."""
        counts, edges = np.histogram(values, n_bins)
        return cls(counts / counts.sum(), (edges[1:] + edges[:-1]) / 2)

    @property
    def quantiles(self) -> Array:
        """(B,) share of the values up to each bin's centre."""
        return np.asarray(np.cumsum(self.shares) - self.shares / 2)


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
    """(K,) ascending k-means centres of a histogram, started from equal quantiles."""
    wanted = (np.arange(n_tissues) + 0.5) / n_tissues
    means = np.interp(wanted, histogram.quantiles, histogram.centres)
    for _ in range(30):
        nearest = np.abs(histogram.centres[:, None] - means).argmin(axis=1)
        mass = np.bincount(nearest, histogram.shares, n_tissues)
        sums = np.bincount(nearest, histogram.shares * histogram.centres, n_tissues)
        means = np.where(mass > 0, sums / np.maximum(mass, 1e-12), means)
    return np.asarray(np.sort(means))


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


def pure_tissue_means(histogram: Histogram, n_tissues: int, *, pure_share: float = 0.033, tie: float = 0.02) -> Array:
    """(K,) ascending intensities of voxels that hold one tissue only.

    Voxels at tissue borders hold two, so the histogram is a mixture of K Gaussians and, between neighbours, of
    uniform mixing shares blurred by the same noise (Santago and Gage, IEEE TMI 12:566, 1993); fitted by maximum
    a posteriori with a simplex search.

    Args:
        pure_share: pseudo share of each pure tissue, which keeps one from vanishing into its borders.
        tie: strength with which the tissues' log standard deviations hold together.
    """
    start = start_means(histogram, n_tissues)
    span = max(float(start[-1] - start[0]), 1e-6)
    pseudo = np.r_[np.full(n_tissues, pure_share), np.zeros(2 * (n_tissues - 1))]

    def unpack(free: Array) -> tuple[Array, Array]:
        means = free[0] + np.r_[0, np.cumsum(np.exp(free[1:n_tissues]))]
        return means, 0.015 * span + np.exp(free[n_tissues:])

    def cost(free: Array) -> float:
        likelihood = _partial_volume_likelihoods(histogram.centres, *unpack(free))
        shares = _shares(likelihood, histogram.shares, pseudo, n_tissues)
        log_sds = free[n_tissues:]
        fit = (histogram.shares * np.log(likelihood @ shares + 1e-12)).sum()
        return float(-fit - (pseudo * np.log(shares + 1e-9)).sum() + 0.5 * tie * ((log_sds - log_sds.mean()) ** 2).sum())

    gaps = np.log(np.maximum(np.diff(start), 1e-3 * span))
    first = np.r_[start[0], gaps, np.full(n_tissues, np.log(0.1 * span))]
    found = minimize(cost, first, method="Nelder-Mead", options={"maxfev": 500, "xatol": 1e-3, "fatol": 1e-6})
    return unpack(found.x)[0]


def _partial_volume_likelihoods(values: Array, means: Array, sds: Array) -> Array:
    """(B, 3K - 2): K pure tissues, then the two halves of the way between each pair of neighbours."""
    columns = [np.exp(-0.5 * ((values - m) / s) ** 2) / (s * np.sqrt(2 * np.pi)) for m, s in zip(means, sds, strict=True)]
    for lower in range(len(means) - 1):
        middle = (means[lower] + means[lower + 1]) / 2
        for low, high, sd in ((means[lower], middle, sds[lower]), (middle, means[lower + 1], sds[lower + 1])):
            columns.append((ndtr((values - low) / sd) - ndtr((values - high) / sd)) / (high - low))
    return np.stack(columns, axis=-1)


def _shares(likelihood: Array, histogram: Array, pseudo: Array, n_tissues: int, n_rounds: int = 12) -> Array:
    """EM of the components' shares with pseudo counts."""
    shares = np.r_[np.full(n_tissues, 2.0), np.ones(likelihood.shape[1] - n_tissues)]
    shares /= shares.sum()
    for _ in range(n_rounds):
        weight = likelihood * shares
        weight /= weight.sum(axis=1, keepdims=True) + 1e-30
        shares = (histogram[:, None] * weight).sum(axis=0) + pseudo
        shares /= shares.sum()
    return shares
