"""Intensities of pure tissues, found in the histogram of voxels of which many hold two tissues."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, OptimizeResult, minimize

from medseg.preprocessing.histogram import Histogram, start_means
from medseg.tissues.partial_volume import partial_volume_likelihoods, partial_volume_slopes, pseudo_shares

Array = npt.NDArray[np.float64]
_TIE = 0.05
"""Strength with which the tissues' log standard deviations hold together."""
_BEYOND = 10.0
"""Strength with which the means stay in the histogram's range: beyond it a sharp peak could be called mixed voxels."""
_LEAST_GAP = 0.5
"""Least distance between neighbouring tissues, as a share of that between the k-means centres."""
_LEAST_DISTANCE = 1e-3
_MIN_SD = 0.01
"""Least distance of k-means centres, and least standard deviation of a tissue; as all lengths below in units of the
distance of the outermost k-means centres."""
_START_GAP = 0.05
_LOG_SIZES = math.log(1e-4), math.log(4.0)
"""Range of the logs of the free parts of gaps and standard deviations."""
_SEARCH = {"maxiter": 500, "maxcor": 30, "ftol": 1e-9, "gtol": 1e-5}
_SIFT_TOLERANCE = 1e-4
"""Relative fall of the cost below which a start is left where it is; the best one is searched on from there."""


def pure_tissue_means(histogram: Histogram, n_tissues: int) -> Array:
    """(K,) ascending intensities of voxels that hold one tissue only.

    Voxels at tissue borders hold two, so the histogram is a mixture of K Gaussians and, between neighbours, of
    uniform mixing shares blurred by the same noise (Santago and Gage, IEEE TMI 12:566, 1993); fitted by maximum
    a posteriori with L-BFGS-B (Byrd et al., SIAM J. Sci. Comput. 16:1190, 1995) from several starts.
    """
    centres = start_means(histogram, n_tissues)
    span = max(float(centres[-1] - centres[0]), 1e-6)
    unit = Histogram(histogram.shares, (histogram.centres - centres[0]) / span)
    posterior = TissuePosterior.of(unit, n_tissues)
    best = search(posterior, min(rough_searches(posterior), key=lambda result: float(result.fun)).x)
    return np.asarray(centres[0] + span * posterior.unpacked(best.x)[0])


def rough_searches(posterior: TissuePosterior) -> list[OptimizeResult]:
    """Search roughly from each of three starts; `x` of each result holds free parameters, `fun` their cost."""
    histogram, middle = posterior.histogram, posterior.centres
    starts = ((middle, 0.1), (_stretched(histogram, middle), 0.1), (_peaks(histogram, middle), 0.02))
    return [search(posterior, posterior.packed(*start), ftol=_SIFT_TOLERANCE) for start in starts]


def search(posterior: TissuePosterior, start: Array, **options: float) -> OptimizeResult:
    """Search the least cost by L-BFGS-B from (5K - 2,) free parameters; `options` are SciPy's and replace the usual."""
    return minimize(
        posterior.cost, start, jac=True, method="L-BFGS-B", bounds=posterior.bounds(), options=_SEARCH | options
    )


@dataclass(frozen=True)
class TissuePosterior:
    """Negative log posterior of the mixture, as a function of free parameters.

    They are the lowest mean, K - 1 log gaps, K log standard deviations and 3K - 2 logits of the components' shares.
    """

    histogram: Histogram
    """In units in which the outermost k-means centres are 0 and 1."""
    centres: Array
    """(K,) k-means centres."""
    least_gaps: Array
    """(K - 1,): on clean images two tissues would share one sharp peak; k-means keeps them apart."""

    @classmethod
    def of(cls, histogram: Histogram, n_tissues: int) -> TissuePosterior:
        """The posterior of K tissues, given a histogram whose outermost k-means centres are 0 and 1."""
        centres = start_means(histogram, n_tissues)
        return cls(histogram, centres, _LEAST_GAP * np.maximum(np.diff(centres), _LEAST_DISTANCE))

    def packed(self, means: Array, width: float) -> Array:
        """The (5K - 2,) free parameters of (K,) ascending means, with the same standard deviation for every tissue."""
        gaps = np.maximum(np.diff(means) - self.least_gaps, _START_GAP)
        n_tissues = len(means)
        shares = np.r_[np.full(n_tissues, 2.0), np.ones(2 * (n_tissues - 1))]
        return np.asarray(np.r_[means[0], np.log(gaps), np.full(n_tissues, np.log(width)), np.log(shares)])

    def unpacked(self, free: Array) -> tuple[Array, Array, Array]:
        """(K,) means, (K,) standard deviations, (3K - 2,) logs of shares that sum to one."""
        n_tissues = len(self.centres)
        means = free[0] + np.r_[0.0, np.cumsum(self.least_gaps + np.exp(free[1:n_tissues]))]
        sds = _MIN_SD + np.exp(free[n_tissues : 2 * n_tissues])
        logits = free[2 * n_tissues :]
        return means, sds, logits - np.logaddexp.reduce(logits)

    def bounds(self) -> Bounds:
        """Of gaps and standard deviations: a step of the search may not overflow."""
        n_tissues = len(self.centres)
        low, high = np.full((2, 5 * n_tissues - 2), [[-np.inf], [np.inf]])
        low[1 : 2 * n_tissues], high[1 : 2 * n_tissues] = _LOG_SIZES
        return Bounds(low, high)

    def cost(self, free: Array) -> tuple[float, Array]:
        """The cost of the (5K - 2,) free parameters and its (5K - 2,) gradient."""
        n_tissues, values = len(self.centres), self.histogram.centres
        means, sds, log_shares = self.unpacked(free)
        shares, pseudo = np.exp(log_shares), pseudo_shares(n_tissues)
        likelihoods = partial_volume_likelihoods(values, means, sds)
        evidence = likelihoods @ shares + 1e-12
        weights = (self.histogram.shares / evidence)[:, None] * shares
        by_mean, by_sd = partial_volume_slopes(values, means, sds, likelihoods, weights)
        mass = (weights * likelihoods).sum(axis=0) + pseudo
        log_sds = free[n_tissues : 2 * n_tissues]
        apart = log_sds - log_sds.mean()
        beyond = np.maximum((values[0] - means[0], means[-1] - values[-1]), 0.0)
        by_mean[[0, -1]] += 2 * _BEYOND * beyond * (1.0, -1.0)
        fit = self.histogram.shares @ np.log(evidence) + pseudo @ log_shares
        by_gap = np.exp(free[1:n_tissues]) * np.cumsum(by_mean[:0:-1])[::-1]
        by_log_sd = by_sd * np.exp(log_sds) - _TIE * apart
        slope = np.r_[by_mean.sum(), by_gap, by_log_sd, mass - shares * mass.sum()]
        return float(-fit + _BEYOND * (beyond**2).sum() + 0.5 * _TIE * (apart**2).sum()), -slope


def _stretched(histogram: Histogram, means: Array) -> Array:
    """The means with the outer two at the ends of the histogram: a tissue may have no pure voxel at all."""
    below = np.cumsum(histogram.shares)
    ends = np.interp((0.01, 0.97), below, histogram.centres)
    return np.asarray(np.r_[min(ends[0], means[0]), means[1:-1], max(ends[1], means[-1])])


def _peaks(histogram: Histogram, means: Array) -> Array:
    """The highest bin near each mean: on clean images the tissues are sharp peaks that a wide start misses."""
    nearest = np.abs(histogram.centres[:, None] - means).argmin(axis=1)
    return np.array([histogram.centres[np.argmax(histogram.shares * (nearest == k))] for k in range(len(means))])
