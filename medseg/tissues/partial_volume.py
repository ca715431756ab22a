"""Mixtures of pure tissues and of voxels that hold two, and how much of each tissue a voxel holds by its intensity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from medseg.preprocessing.histogram import Histogram

Array = npt.NDArray[np.float64]
_PURE_SHARE = 0.02
"""Pseudo share of each pure tissue but the darkest, which keeps it from vanishing into its borders."""
_MIXED_SHARE = 0.002
"""Pseudo share of each half of the way between two tissues: where it may be nothing, a fit has several optima."""
_N_ROUNDS = 50
_N_INTENSITIES = 512
_LEAST_SD = 1e-3
"""Least noise, as a share of the range of the tissue means."""


def fraction_table(histogram: Histogram, means: Array, sd: float) -> tuple[Array, Array]:
    """Expected fraction of each tissue as a function of the intensity.

    The model is that of `pure_tissue_means` (Santago and Gage, IEEE TMI 12:566, 1993): a voxel holds one tissue, or
    two neighbours in a share t that is uniform on either half of the way, and its intensity carries Gaussian noise.
    The shares of these components come from the scan's histogram by EM, then fraction_k(u) = E[share of k | u], a sum
    over the components of their posterior times 1 or the mean of the truncated Gaussian. Without noise it is linear
    between the means.

    Args:
        histogram: of the scan's denoised intensities.
        means: (K,) ascending intensities of the pure tissues.
        sd: standard deviation of the noise that is left in an intensity.

    Returns:
        (B,) ascending intensities and (B, K) fractions, rows sum to one; beyond the ends the end values hold.
    """
    n_tissues = len(means)
    sds = np.full(n_tissues, max(sd, _LEAST_SD * float(np.ptp(means))))
    likelihoods = partial_volume_likelihoods(histogram.centres, means, sds)
    shares = _mixing_shares(likelihoods, histogram, n_tissues)
    ends = (min(histogram.centres[0], means[0]), max(histogram.centres[-1], means[-1]))
    values = np.linspace(*ends, _N_INTENSITIES)
    weights = partial_volume_likelihoods(values, means, sds) * shares + 1e-30
    weights /= weights.sum(axis=1, keepdims=True)
    fractions = weights[:, :n_tissues].copy()
    for lower in range(n_tissues - 1):
        low, high = means[lower], means[lower + 1]
        middle = (low + high) / 2
        for half, (start, stop) in enumerate(((low, middle), (middle, high))):
            weight = weights[:, n_tissues + 2 * lower + half]
            share = (_truncated_mean(values, sds[0], start, stop) - low) / (high - low)
            fractions[:, lower] += weight * (1 - share)
            fractions[:, lower + 1] += weight * share
    return values, fractions


def pseudo_shares(n_tissues: int) -> Array:
    """(3K - 2,) pseudo shares of the components of `partial_volume_likelihoods`."""
    return np.asarray(np.r_[0.0, np.full(n_tissues - 1, _PURE_SHARE), np.full(2 * (n_tissues - 1), _MIXED_SHARE)])


def partial_volume_likelihoods(values: Array, means: Array, sds: Array) -> Array:
    """(B, 3K - 2) of (B,) values: K pure tissues, then the two halves of the way between each pair of neighbours."""
    z = (values - means[:, None]) / sds[:, None]
    pure = _normal(z) / sds[:, None]
    low, high, sd = (part[:, None] for part in _halves(means, sds))
    reach, away = (high - low) / (2 * sd), np.abs(values - (low + high) / 2) / sd
    mixed = (ndtr(reach - away) - ndtr(-reach - away)) / (high - low)  # in the left tail, where ndtr is exact
    return np.concatenate([pure, mixed]).T


def partial_volume_slopes(
    values: Array, means: Array, sds: Array, likelihoods: Array, weights: Array
) -> tuple[Array, Array]:
    """Gradient of the sum of `weights` times `partial_volume_likelihoods`, both (B, 3K - 2), by means and by sds."""
    n_tissues = len(means)
    z = (values - means[:, None]) / sds[:, None]
    pure = (weights * likelihoods)[:, :n_tissues].T
    by_mean, by_sd = (pure * z).sum(axis=1) / sds, (pure * (z * z - 1)).sum(axis=1) / sds
    low, high, sd = (part[:, None] for part in _halves(means, sds))
    mixed, weight = likelihoods[:, n_tissues:].T, weights[:, n_tissues:].T / (high - low)
    from_low, from_high = (values - low) / sd, (values - high) / sd
    at_low, at_high = _normal(from_low) / sd, _normal(from_high) / sd
    by_low, by_high = (weight * (mixed - at_low)).sum(axis=1), (weight * (at_high - mixed)).sum(axis=1)
    by_own = (weight * (from_high * at_high - from_low * at_low)).sum(axis=1)
    # The halves lie between neighbours' means and their middle, each with its own tissue's noise.
    first, second = slice(0, None, 2), slice(1, None, 2)
    by_middle = (by_high[first] + by_low[second]) / 2
    by_mean[:-1] += by_low[first] + by_middle
    by_mean[1:] += by_high[second] + by_middle
    by_sd[:-1] += by_own[first]
    by_sd[1:] += by_own[second]
    return by_mean, by_sd


def _halves(means: Array, sds: Array) -> tuple[Array, Array, Array]:
    """(2K - 2,) lower ends, upper ends and standard deviations of the halves of the way between neighbours."""
    middles = (means[1:] + means[:-1]) / 2
    points = np.empty(2 * len(means) - 1)
    points[::2], points[1::2] = means, middles
    return points[:-1], points[1:], np.repeat(sds, 2)[1:-1]


def _normal(z: Array) -> Array:
    """Density of the standard normal distribution."""
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def _mixing_shares(likelihoods: Array, histogram: Histogram, n_tissues: int) -> Array:
    """EM of the components' shares with pseudo counts."""
    shares: Array = np.ones(likelihoods.shape[1])
    shares[:n_tissues] = 2.0
    shares /= shares.sum()
    for _ in range(_N_ROUNDS):
        shares = shares * ((histogram.shares / (likelihoods @ shares + 1e-30)) @ likelihoods) + pseudo_shares(n_tissues)
        shares /= shares.sum()
    return shares


def _truncated_mean(values: Array, sd: float, low: float, high: float) -> Array:
    """Mean of N(value, sd) between `low` and `high`."""
    a, b = (low - values) / sd, (high - values) / sd
    mass = ndtr(b) - ndtr(a)
    inner = values + sd * (_normal(a) - _normal(b)) / np.maximum(mass, 1e-300)
    return np.clip(np.where(mass > 1e-9, inner, values), low, high)
