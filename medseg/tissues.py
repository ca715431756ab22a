"""Tissues by intensity: a Gaussian mixture with a smooth multiplicative bias field, fitted to one scan by EM.

x(v) = bias(v) * mean_k + noise, as in Wells et al., "Adaptive segmentation of MRI data", IEEE TMI 15:429, 1996.
The class prior is a constant, or the autoencoder's p(k | surroundings).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor
from torch.nn import functional

from medseg.geometry import Geometry
from medseg.preprocessing import Prepared, smooth_axis

MIN_SD = 0.01
BIAS_SIGMA_MM = 25.0
_BIAS_CELL_MM = 6.0


@dataclass(frozen=True)
class Tissues:
    """How the tissues look in one scan.

    Attributes:
        means, sds, shares: (K,) in normalised intensity; shares sum to one.
        bias: (1, I, J, K) smooth factor, one on average, on the working grid.
    """

    means: Tensor
    sds: Tensor
    shares: Tensor
    bias: MetaTensor

    def log_likelihood(self, intensity: Tensor, bias: Tensor) -> Tensor:
        """(K, *shape) log N(intensity; bias * mean_k, sd_k) for `intensity` and `bias` of any one shape."""
        view = (-1, *([1] * intensity.ndim))
        means, sds = self.means.view(view), self.sds.view(view)
        return -0.5 * ((intensity[None] - bias[None] * means) / sds) ** 2 - torch.log(sds)


def fit_tissues(
    prepared: Prepared,
    means: Tensor,
    *,
    log_prior: Tensor | None = None,
    bias_field: bool = True,
    n_iterations: int = 25,
) -> Tissues:
    """EM on the foreground of one scan, started from the cohort's `means` (K,), which keeps labels' meaning.

    Args:
        log_prior: (K, I, J, K) from the autoencoder; None: the tissues' shares are the prior.
    """
    grid = prepared.image.as_tensor()[0]
    inside = prepared.foreground.as_tensor()[0] > 0
    x = grid[inside]
    prior = None if log_prior is None else log_prior[:, inside]
    means = means.clone()
    sds = torch.full_like(means, float(x.std()) / len(means))
    shares = torch.full_like(means, 1 / len(means))
    bias = torch.ones_like(x)
    for _ in range(n_iterations):
        weights = _posterior(x, bias, means, sds, torch.log(shares)[:, None] if prior is None else prior)
        if bias_field:
            field = _bias_field(x, weights, means, sds, inside, Geometry.of(prepared.image))
            bias = field[inside]
        mass = weights.sum(1) + 1e-6
        means = (weights * (bias * x)).sum(1) / ((weights * bias**2).sum(1) + 1e-6)
        residual = (weights * (x - bias * means[:, None]) ** 2).sum(1)
        # One variance for all tissues: free ones run away on clean images and swallow their neighbours.
        sds = torch.full_like(means, float(torch.sqrt(residual.sum() / mass.sum()))).clamp_min(MIN_SD)
        shares = mass / mass.sum()
    field = field if bias_field else torch.ones_like(grid)
    return Tissues(means, sds, shares, MetaTensor(field[None], affine=prepared.image.affine))


def _posterior(x: Tensor, bias: Tensor, means: Tensor, sds: Tensor, log_prior: Tensor) -> Tensor:
    """(K, V) responsibilities."""
    log_likelihood = -0.5 * ((x - bias * means[:, None]) / sds[:, None]) ** 2 - torch.log(sds)[:, None]
    return torch.softmax(log_prior + log_likelihood, dim=0)


def _bias_field(x: Tensor, weights: Tensor, means: Tensor, sds: Tensor, inside: Tensor, geometry: Geometry) -> Tensor:
    """(I, J, K) smooth factor that explains the residuals best, one on average inside."""
    precision = weights / (sds**2)[:, None]
    numerator, denominator = torch.zeros(inside.shape), torch.zeros(inside.shape)
    numerator[inside] = (precision * means[:, None]).sum(0) * x
    denominator[inside] = (precision * means[:, None] ** 2).sum(0)
    cell = [max(1, round(_BIAS_CELL_MM / s)) for s in geometry.spacing_mm]
    coarse = []
    for part in (numerator, denominator):
        pooled = functional.avg_pool3d(part[None, None], cell, ceil_mode=True, count_include_pad=False)[0]
        for axis, (size, spacing) in enumerate(zip(cell, geometry.spacing_mm, strict=True)):
            pooled = smooth_axis(pooled, BIAS_SIGMA_MM / (size * spacing), axis + 1)
        coarse.append(pooled)
    ratio = coarse[0] / coarse[1].clamp_min(1e-6 * float(coarse[1].max()))
    size = tuple(n * c for n, c in zip(ratio.shape[1:], cell, strict=True))
    fine = functional.interpolate(ratio[None], size=size, mode="trilinear", align_corners=False)[0, 0]
    fine = fine[tuple(slice(0, n) for n in inside.shape)]
    return fine / fine[inside].mean()


def cohort_means(prepared: list[Prepared], n_tissues: int, seed: int) -> Tensor:
    """(K,) k-means centres of the pooled intensities of all scans, ascending (several starts, 1-D)."""
    from sklearn.cluster import KMeans

    samples = []
    for item in prepared:
        inside = item.image.as_tensor()[item.foreground.as_tensor() > 0]
        samples.append(inside[:: max(1, inside.numel() // 20_000)])
    pooled = torch.cat(samples)[:, None].double().numpy()
    fitted = KMeans(n_tissues, n_init=5, random_state=seed).fit(pooled)
    return torch.as_tensor(sorted(fitted.cluster_centers_[:, 0]), dtype=torch.float32)
