from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from medseg.preprocessing.histogram import Histogram, start_means
from medseg.tissues.partial_volume import partial_volume_likelihoods
from medseg.tissues.pure_tissues import TissuePosterior, pure_tissue_means, rough_searches, search

MEANS = np.array([60.0, 150.0, 220.0])


def voxels(seed=0, n=60_000, noise=6.0, mixed_share=0.5, pure=(0.27, 0.4, 0.33)):
    """Intensities of pure voxels and of mixed ones between neighbours."""
    generator = np.random.default_rng(seed)
    share, lower = generator.uniform(0, 1, n), generator.integers(0, 2, n)
    between = MEANS[lower] + share * np.diff(MEANS)[lower]
    clean = np.where(generator.random(n) < mixed_share, between, generator.choice(MEANS, n, p=pure))
    return clean + generator.normal(0, noise, n)


def unit(values, n_tissues=3, n_bins=192):
    """Histogram in which the outermost k-means centres are 0 and 1."""
    histogram = Histogram.of(values, n_bins)
    centres = start_means(histogram, n_tissues)
    return Histogram(histogram.shares, (histogram.centres - centres[0]) / (centres[-1] - centres[0]))


def test_partial_volume_does_not_pull_the_tissue_means():
    """Half of the voxels hold two tissues: the pure means stay, where k-means is drawn inwards."""
    histogram = Histogram.of(voxels())
    pure, drawn = pure_tissue_means(histogram, 3), start_means(histogram, 3)
    assert np.abs(pure - MEANS).max() < 5
    assert np.abs(drawn - MEANS).max() > 2 * np.abs(pure - MEANS).max()


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_the_gradient_is_that_of_the_cost(seed, n_tissues):
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.normal(c, 5, 800) for c in generator.uniform(0, 100, n_tissues)])
    posterior = TissuePosterior.of(unit(values, n_tissues, 80), n_tissues)
    # Both ends of the histogram may lie inside the means, so that the penalty takes part.
    means = posterior.centres + np.linspace(-1, 1, n_tissues) * generator.uniform(0, 0.8)
    free = posterior.packed(means, 0.1) + generator.normal(0, 0.1, 5 * n_tissues - 2)
    slope = posterior.cost(free)[1]
    numeric = approx_fprime(free, lambda at: posterior.cost(at)[0], 1e-7)
    assert np.allclose(slope, numeric, atol=1e-4 * max(1.0, np.abs(slope).max()))


@pytest.mark.parametrize("mixed_share", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("noise", [4.0, 12.0, 25.0])
def test_starts_that_reach_the_same_cost_reach_the_same_optimum(noise, mixed_share):
    """Else small differences between two networks' denoised images could choose another one."""
    histogram = unit(voxels(1, noise=noise, mixed_share=mixed_share))
    posterior = TissuePosterior.of(histogram, 3)
    found = [search(posterior, rough.x) for rough in rough_searches(posterior)]
    best = min(result.fun for result in found)
    means = np.array([posterior.unpacked(result.x)[0] for result in found if result.fun < best + 1e-3])
    assert len(means) > 1
    assert np.ptp(means, axis=0).max() < 0.003


@pytest.mark.parametrize("pure", [(0.27, 0.4, 0.33), (0.05, 0.55, 0.4), (0.02, 0.58, 0.4)])
def test_small_changes_of_a_histogram_move_the_means_little(pure):
    """A rare fluid is what several optima of the same cost quarrelled about."""
    found = np.array([pure_tissue_means(Histogram.of(voxels(seed, noise=15.0, pure=pure)), 3) for seed in range(6)])
    assert np.ptp(found[:, 1:], axis=0).max() < 4
    assert np.ptp(found[:, 0]) < 10


def test_the_search_does_not_depend_on_the_scale():
    values = voxels(3)
    found = pure_tissue_means(Histogram.of(values), 3)
    for scale in (1e-3, 1e4):
        assert np.allclose(pure_tissue_means(Histogram.of(values * scale), 3), scale * found, rtol=1e-3)


@pytest.mark.parametrize("n_tissues", [2, 3, 6])
def test_means_of_one_value_or_two_stay_finite_and_ascend(n_tissues):
    for values in (np.full(100, 7.0), np.r_[np.zeros(50), np.ones(50)]):
        found = pure_tissue_means(Histogram.of(values), n_tissues)
        assert np.isfinite(found).all()
        assert (np.diff(found) > 0).all()


def test_likelihoods_are_densities():
    values = np.linspace(-300, 700, 20_001)
    likelihoods = partial_volume_likelihoods(values, MEANS, np.array([5.0, 12.0, 8.0]))
    assert np.allclose(np.trapezoid(likelihoods, values, axis=0), 1, atol=1e-3)
