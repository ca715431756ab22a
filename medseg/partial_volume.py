"""How much of each tissue a voxel holds, given its noisy intensity: the expected mixing shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from medseg.histogram import Histogram, mixing_shares, partial_volume_likelihoods, pseudo_shares

Array = npt.NDArray[np.float64]
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
    shares = mixing_shares(likelihoods, histogram.shares, pseudo_shares(n_tissues), n_tissues, _N_ROUNDS)
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


def _truncated_mean(values: Array, sd: float, low: float, high: float) -> Array:
    """Mean of N(value, sd) between `low` and `high`."""
    a, b = (low - values) / sd, (high - values) / sd
    mass = ndtr(b) - ndtr(a)
    density = (np.exp(-0.5 * a**2) - np.exp(-0.5 * b**2)) / np.sqrt(2 * np.pi)
    inner = values + sd * density / np.maximum(mass, 1e-300)
    return np.clip(np.where(mass > 1e-9, inner, values), low, high)
