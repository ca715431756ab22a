"""Tissues of one scan by intensity: shading removed, contrast brought to a common scale, borders half way.

Label k is the k-th tissue in ascending intensity in every scan, whatever its scale, shading and noise: the scan is
adapted to the labels, never the other way round.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.bias import estimate_bias
from medseg.fields import FieldRegression
from medseg.geometry import Geometry, resample
from medseg.histogram import Histogram, gaussian_em, pure_tissue_means
from medseg.preprocessing import Prepared

Z_RANGE = (-4.0, 4.0)
"""Intensities are clipped to this many tissue contrasts around the second brightest tissue."""
_LEAST_GAP = 0.2
"""Least distance of two tissues' local means, as a share of that of their global means."""
_GLOBAL_SHARE = 0.1
"""Weight of a tissue's global mean against its mean in the surroundings."""
_MIN_SD = 0.02
N_LOCAL_ROUNDS = 6


def to_contrast_units(prepared: Prepared, *, n_tissues: int, bias_mm: float | None) -> Prepared:
    """Remove the shading and map the second brightest tissue to 0 and the brightest to 1; 0 outside.

    Args:
        prepared: the scan on the working grid.
        n_tissues: tissues by intensity.
        bias_mm: standard deviation of the kernel of the bias field; None: no field.
    """
    image = prepared.image.as_tensor()
    inside = prepared.foreground.as_tensor() > 0
    if bias_mm is not None:
        field = estimate_bias(prepared.image, prepared.foreground, n_tissues=n_tissues, sigma_mm=bias_mm)
        image = image / resample(field, Geometry.of(prepared.image)).as_tensor().clamp_min(0.1)
    means = pure_tissue_means(Histogram.of(image[inside].numpy()), n_tissues)
    scaled = ((image - means[-2]) / (means[-1] - means[-2])).clamp(*Z_RANGE) * inside
    return Prepared(MetaTensor(scaled.float(), affine=prepared.image.affine), prepared.foreground)


def straighten(mean: MetaTensor, foreground: MetaTensor, *, n_tissues: int, sigma_mm: float) -> MetaTensor:
    """Take what is left of the shading out of a denoised image: tissue means that drift become constant.

    EM with tissue means that vary smoothly over space, falling back to the global mean where a tissue is rare;
    then, voxel by voxel, the piecewise linear map from the local to the global means.

    Args:
        mean: (1, I, J, K) denoised image.
        foreground: (1, I, J, K) of 0 and 1.
        n_tissues: tissues by intensity.
        sigma_mm: standard deviation of the kernel of the local means.
    """
    regression = FieldRegression(foreground, sigma_mm)
    values = regression.pick(mean)
    histogram = Histogram.of(values)
    mixture = gaussian_em(histogram, n_tissues, start=None, n_rounds=30)
    weights = mixture.responsibilities(histogram.centres)
    posterior = np.stack(histogram.at(values, list(weights.T)))
    means, sds, shares = mixture.means, mixture.sds, mixture.shares
    for _ in range(N_LOCAL_ROUNDS):
        coarse = [_local_mean(regression, values, row, m) for row, m in zip(posterior, means, strict=True)]
        local = np.stack([regression.at_voxels(part) for part in coarse])
        posterior = shares[:, None] * np.exp(-0.5 * ((values - local) / sds[:, None]) ** 2) / sds[:, None] + 1e-12
        posterior /= posterior.sum(axis=0)
        mass = posterior.sum(axis=1)
        shares, means = mass / mass.sum(), (posterior * local).sum(axis=1) / mass
        sds = np.maximum(np.sqrt((posterior * (values - local) ** 2).sum(axis=1) / mass), _MIN_SD)
    grid = Geometry.of(mean)
    fields = [resample(regression.as_image(part), grid).as_tensor() for part in coarse]
    return MetaTensor(_piecewise(mean.as_tensor(), fields, means), affine=mean.affine)


def _local_mean(
    regression: FieldRegression, values: npt.NDArray[np.float32], weights: npt.NDArray[np.float64], mean: float
) -> npt.NDArray[np.float32]:
    """Coarse field of one tissue's mean."""
    mass = regression.smooth(weights)
    extra = _GLOBAL_SHARE * float(mass.mean())
    return np.asarray((regression.smooth(weights * values) + extra * mean) / (mass + extra), dtype=np.float32)


def _piecewise(values: Tensor, fields: list[Tensor], means: npt.NDArray[np.float64]) -> Tensor:
    """The map that takes fields[k] to means[k], linear between and beyond."""
    out = values
    for k, (low, high) in enumerate(pairwise(means)):
        gap = (fields[k + 1] - fields[k]).clamp_min(_LEAST_GAP * float(high - low))
        line = float(low) + (values - fields[k]) / gap * float(high - low)
        out = line if k == 0 else torch.where(values > fields[k], line, out)
    return out


def tissue_means(mean: MetaTensor, foreground: MetaTensor, n_tissues: int) -> tuple[npt.NDArray[np.float64], Histogram]:
    """(K,) ascending intensities of the pure tissues of a denoised (1, I, J, K) image, and its histogram."""
    histogram = Histogram.of(mean.as_tensor()[foreground.as_tensor() > 0].cpu().numpy())
    return pure_tissue_means(histogram, n_tissues), histogram


def borders_between(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(K,) ascending means -> (K - 1,) intensities half way between them."""
    return np.asarray((means[1:] + means[:-1]) / 2)


def scores_between(mean: MetaTensor, borders: npt.NDArray[np.float64]) -> MetaTensor:
    """(K, I, J, K) scores whose argmax is the interval between `borders` that the intensity lies in.

    They are linear in the intensity u, score_k = k u - sum of the first k borders, so interpolating the scores is
    the same as interpolating the intensity: borders fall where they do in the image, on any grid.
    """
    offsets = torch.as_tensor(np.r_[0.0, np.cumsum(borders)], dtype=torch.float32)
    slopes = torch.arange(len(offsets), dtype=torch.float32)
    view = (-1, 1, 1, 1)
    return MetaTensor(mean.as_tensor() * slopes.view(view) - offsets.view(view), affine=mean.affine)
