"""Smooth shading of MR: one multiplicative field, estimated together with the tissues, never by itself.

x(v) = bias(v) * mean_k + noise: a Gaussian mixture whose responsibilities say what the intensity should be, and
a kernel-smoothed ratio that says by how much it is off (Wells et al., "Adaptive segmentation of MRI data", IEEE
TMI 15:429, 1996). The field is kept on a coarse lattice and resampled where it is needed.
"""

from __future__ import annotations

import numpy as np
from monai.data.meta_tensor import MetaTensor

from medseg.preprocessing.histogram import Histogram, gaussian_em
from medseg.spatial.smoothing import FieldRegression

N_ROUNDS = 12


def estimate_bias(image: MetaTensor, foreground: MetaTensor, *, n_tissues: int, sigma_mm: float) -> MetaTensor:
    """Estimate the field of one scan inside its foreground.

    Args:
        image: (1, I, J, K), not negative; the scale does not matter.
        foreground: (1, I, J, K) of 0 and 1.
        n_tissues: Gaussians of the mixture.
        sigma_mm: standard deviation of the Gaussian that smooths the field.

    Returns:
        (1, i, j, k) field on a coarse lattice, one on average inside; `resample` brings it to any other grid.
    """
    regression = FieldRegression(foreground, sigma_mm)
    voxels = regression.pick(image)
    bias = np.ones_like(voxels)
    mixture = None
    for _ in range(N_ROUNDS):
        evened = voxels / bias
        histogram = Histogram.of(evened)
        mixture = gaussian_em(histogram, n_tissues, start=mixture, n_rounds=5 if mixture else 20)
        weights = mixture.responsibilities(histogram.centres) / mixture.sds**2
        expected, squared = histogram.at(evened, [weights @ mixture.means, weights @ mixture.means**2])
        denominator = regression.smooth(squared)
        coarse = regression.smooth(expected * voxels) / np.maximum(denominator, 1e-6 * denominator.max())
        bias = regression.at_voxels(coarse)
        average = float(bias.mean())
        bias = bias / average
    return regression.as_image(coarse / average)
