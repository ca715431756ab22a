"""The noise that smoothing leaves in the posterior means of a scan's tissues, simulated where everything is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.clustering.per_scan import kept_sd
from medseg.spatial.smoothing import kept_variance, pool

SHAPE = (20, 22, 24)
SPACING = (1.0, 0.8, 1.6)
EVERYWHERE = np.ones(SHAPE, bool)


def smoothed(volume, sigma_mm):
    return pool(volume.astype(np.float32), EVERYWHERE, sigma_mm, SPACING)[5:-5, 5:-5, 5:-5]


def after_smoothing(sd, noise, sigma_mm):
    volume = MetaTensor(torch.full((1, *SHAPE), float(sd)), affine=torch.diag(torch.tensor([*SPACING, 1.0])))
    return float(kept_sd(volume, noise, sigma_mm).as_tensor().mean())


@pytest.mark.parametrize("sigma_mm", [0.0, 0.3, 0.5, 1.2])
def test_what_smoothing_leaves_of_white_noise(sigma_mm):
    randomness = np.random.default_rng(0)
    found = np.mean([(smoothed(randomness.standard_normal(SHAPE), sigma_mm) ** 2).mean() for _ in range(20)])
    assert found == pytest.approx(kept_variance(sigma_mm, SPACING), rel=0.05)


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_the_error_of_a_smoothed_posterior_mean_is_what_is_said(spread):
    """The surroundings mislead all voxels alike, by N(0, spread); each voxel's own noise is N(0, 1)."""
    randomness, gain, errors = np.random.default_rng(1), spread**2 / (spread**2 + 1), []
    for misled in spread * randomness.standard_normal(400):
        means = (1 - gain) * misled + gain * randomness.standard_normal(SHAPE)
        errors.append((smoothed(means, 0.6) ** 2).mean())
    assert after_smoothing(gain**0.5, 1.0, 0.6) == pytest.approx(np.mean(errors) ** 0.5, rel=0.1)


def test_without_smoothing_nothing_is_lost_and_a_posterior_wider_than_the_noise_counts_as_noise():
    assert after_smoothing(0.4, 1.0, 0.0) == pytest.approx(0.4, rel=1e-6)
    assert after_smoothing(2.0, 1.0, 0.5) == pytest.approx(2.0 * kept_variance(0.5, SPACING) ** 0.5, rel=1e-4)
