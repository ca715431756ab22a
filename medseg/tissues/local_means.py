"""Tissue means that differ from region to region, and the map that makes them the same everywhere.

Grey matter is brighter in the thalamus than in the cortex, and no smooth shading explains it (Dahnke et al., "Local
adaptive segmentation", OHBM 2012). Each tissue gets a mean of its own around every voxel. What borders blur together
must not count as tissue there, so the mixture is that of partial volume: pure tissues, and between neighbours uniform
mixing shares with the same noise (Santago and Gage, IEEE TMI 12:566, 1993), with means that depend on the place.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.preprocessing.histogram import Histogram
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.spatial.smoothing import FieldRegression
from medseg.tissues.pure_tissues import pure_tissue_means

Means = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]
N_ROUNDS = 6
_OUTER = 2.0
"""How much wider the kernel of the darkest and of the brightest tissue is: fluid and white matter differ less."""
_GLOBAL_SHARE = 0.2
"""Weight of a tissue's global mean against its mean in the surroundings, as a share of its average mass there."""
_LEAST_GAP = 0.2
"""Least distance of two tissues' local means, as a share of that of their global means."""
_START_SD = 0.15
_LEAST_SD = 0.02
"""Standard deviations at the start, and at least, as shares of the distance of the two brightest tissues."""
_RARE = 1e-9
_START_PURE = 0.6
"""Share of voxels that hold one tissue only, at the start."""


class Straightened(NamedTuple):
    """(1, I, J, K) image, the (1, I, J, K) slope that took it there, and its (K,) ascending tissue means."""

    image: MetaTensor
    slope: Tensor
    means: Means


def straighten(mean: MetaTensor, foreground: MetaTensor, *, n_tissues: int, sigma_mm: float) -> Straightened:
    """Map local tissue means to global ones, voxel by voxel, linearly between neighbouring tissues and beyond.

    Args:
        mean: (1, I, J, K) denoised image.
        foreground: (1, I, J, K) of 0 and 1.
        n_tissues: K tissues by intensity.
        sigma_mm: standard deviation of the kernel of the local means; twice that for the outermost tissues.

    Returns:
        The image, how much it was stretched (noise is stretched alike), and the means of its pure tissues.
    """
    regression = FieldRegression(foreground, sigma_mm)
    fields, means = local_means(regression, regression.pick(mean), n_tissues)
    grid = Geometry.of(mean)
    fine = [resample(regression.as_image(field), grid).as_tensor() for field in fields]
    straight, slope = piecewise_map(mean.as_tensor(), fine, means)
    return Straightened(MetaTensor(straight, affine=mean.affine), slope, means)


def local_means(regression: FieldRegression, values: Field, n_tissues: int) -> tuple[list[Field], Means]:
    """EM of pure and mixed voxels whose tissue means vary smoothly over space; a fixed, small number of rounds.

    Args:
        regression: smooths over the voxels that take part.
        values: (V,) their intensities.
        n_tissues: K.

    Returns:
        K coarse fields of the lattice of `regression`, and the (K,) global means.
    """
    start = pure_tissue_means(Histogram.of(values), n_tissues)
    least_gaps = torch.from_numpy(_LEAST_GAP * np.diff(start)).float()
    voxels, contrast = torch.from_numpy(values), float(start[-1] - start[-2])
    means, sds = torch.from_numpy(start).float(), torch.full((n_tissues,), _START_SD * contrast)
    mixed = torch.full((n_tissues - 1,), (1 - _START_PURE) / (n_tissues - 1))
    shares = torch.cat([torch.full((n_tissues,), _START_PURE / n_tissues), mixed])
    widths = [_OUTER, *[1.0] * (n_tissues - 2), _OUTER]
    local, fields = means[:, None].expand(-1, len(voxels)), []
    for _ in range(N_ROUNDS):
        posterior = local_posteriors(voxels, local, sds, shares, least_gaps)
        mass = posterior.sum(dim=1, dtype=torch.float64)
        shares = (mass / mass.sum()).float()
        # What no tissue explains counts for none, and a tissue without voxels stays where it was.
        pure, mass = posterior[:n_tissues], mass[:n_tissues] + _RARE
        means = (((pure * local).sum(dim=1, dtype=torch.float64) + _RARE * means) / mass).float()
        variance = (pure * (voxels - local).square_()).sum(dim=1, dtype=torch.float64) / mass
        sds = variance.sqrt().float().clamp_min(_LEAST_SD * contrast)
        parts = zip(pure.numpy(), means.tolist(), widths, strict=True)
        fields = [_local_mean(regression, values, *part) for part in parts]
        local = torch.from_numpy(np.stack([regression.at_voxels(field) for field in fields]))
    return fields, means.double().numpy()


def local_posteriors(values: Tensor, local: Tensor, sds: Tensor, shares: Tensor, least_gaps: Tensor) -> Tensor:
    """Probability of each tissue in each voxel: K pure tissues, then the mixtures of each with the next.

    Args:
        values: (V,) intensities.
        local: (K, V) mean of each tissue around each voxel, ascending with K.
        sds: (K,) standard deviations of the noise of each pure tissue, above 0.
        shares: (2K - 1,) shares of all voxels, in the order of the result.
        least_gaps: (K - 1,) least distance of neighbouring means.

    Returns:
        (2K - 1, V) probabilities. They sum to one over the tissues, to less where no tissue explains the intensity.
    """
    n_tissues = len(local)
    found = torch.empty(2 * n_tissues - 1, len(values))
    for k in range(n_tissues):
        scale = float(shares[k] / sds[k]) / math.sqrt(2 * math.pi)
        found[k] = ((values - local[k]) / sds[k]).square_().mul_(-0.5).exp_().mul_(scale)
    for k, (low, high) in enumerate(pairwise(local)):
        sd, gap = (sds[k] + sds[k + 1]) / 2, (high - low).clamp_min_(float(least_gaps[k]))
        from_low = (values - low) / sd
        below = torch.special.ndtr(from_low) - torch.special.ndtr(from_low - gap / sd)
        found[n_tissues + k] = below.div_(gap).mul_(float(shares[n_tissues + k]))
    return found.div_(found.sum(dim=0).add_(_RARE))


def _local_mean(regression: FieldRegression, values: Field, weights: Field, mean: float, width: float) -> Field:
    """Coarse field of one tissue's mean, drawn to the global one where the tissue is rare."""
    mass = regression.smooth(weights, width)
    extra = _GLOBAL_SHARE * float(mass.mean()) + _RARE
    return np.asarray((regression.smooth(weights * values, width) + extra * mean) / (mass + extra), dtype=np.float32)


def piecewise_map(values: Tensor, fields: list[Tensor], means: Means) -> tuple[Tensor, Tensor]:
    """Map intensities so that `fields[k]` becomes `means[k]`, linearly between neighbouring tissues and beyond.

    Args:
        values: (1, I, J, K) intensities.
        fields: one (1, I, J, K) local mean for each tissue, ascending.
        means: (tissues,) ascending global means.

    Returns:
        The (1, I, J, K) mapped intensities, and the (1, I, J, K) slope of the map at each voxel.
    """
    out, slope = values, torch.ones_like(values)
    for k, (low, high) in enumerate(pairwise(means)):
        gap = (fields[k + 1] - fields[k]).clamp_min(_LEAST_GAP * float(high - low))
        steep = float(high - low) / gap
        line = float(low) + (values - fields[k]) * steep
        beyond = values > fields[k] if k else torch.ones_like(values, dtype=torch.bool)
        out, slope = torch.where(beyond, line, out), torch.where(beyond, steep, slope)
    return out, slope
