"""Tissues of one scan by intensity: shading removed, contrast brought to a common scale, borders half way.

Label k is the k-th tissue in ascending intensity in every scan, whatever its scale, shading and noise: the scan is
adapted to the labels, never the other way round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.preprocessing.histogram import Histogram
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.tissues.bias import estimate_bias
from medseg.tissues.pure_tissues import pure_tissue_means

Z_RANGE = (-4.0, 4.0)
"""Intensities are clipped to this many tissue contrasts around the second brightest tissue."""


def to_contrast_units(
    image: MetaTensor, foreground: MetaTensor, *, n_tissues: int, bias_sigma_mm: float | None
) -> MetaTensor:
    """Remove the shading and map the second brightest tissue to 0 and the brightest to 1; 0 outside.

    Args:
        image: (1, I, J, K) on the working grid.
        foreground: (1, I, J, K) of 0 and 1.
        n_tissues: tissues by intensity.
        bias_sigma_mm: standard deviation of the kernel of the bias field; None: no field.
    """
    voxels = image.as_tensor()
    inside = foreground.as_tensor() > 0
    if bias_sigma_mm is not None:
        field = estimate_bias(image, foreground, n_tissues=n_tissues, sigma_mm=bias_sigma_mm)
        voxels = voxels / resample(field, Geometry.of(image)).as_tensor().clamp_min(0.1)
    means = pure_tissue_means(histogram_of(voxels, inside), n_tissues)
    scaled = ((voxels - means[-2]) / (means[-1] - means[-2])).clamp(*Z_RANGE) * inside
    return MetaTensor(scaled.float(), affine=image.affine)


def histogram_of(image: Tensor, inside: Tensor) -> Histogram:
    """Of the (1, I, J, K) image's voxels that lie inside."""
    return Histogram.of(image[inside].cpu().numpy())


def borders_between(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(K,) ascending means -> (K - 1,) intensities half way between them."""
    return np.asarray((means[1:] + means[:-1]) / 2)


def scores_between(mean: MetaTensor, borders: npt.NDArray[np.float64]) -> MetaTensor:
    """(K, I, J, K) scores whose argmax is the interval between `borders` that the intensity lies in.

    They are linear in the intensity u, score_k = k u - sum of the first k borders, so interpolating the scores is
    the same as interpolating the intensity: borders fall where they do in the image, on any grid.
    """
    offsets = torch.as_tensor(np.r_[0.0, np.cumsum(borders)], dtype=torch.float32, device=mean.device)
    slopes = torch.arange(len(offsets), dtype=torch.float32, device=mean.device)
    view = (-1, 1, 1, 1)
    return MetaTensor(mean.as_tensor() * slopes.view(view) - offsets.view(view), affine=mean.affine)
