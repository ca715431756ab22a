from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from medseg.clustering.mixture import Mixture
from medseg.clustering.neighbourhood import keep_bulk, smooth_posteriors
from medseg.preprocessing.histogram import Histogram, gaussian_em, start_means
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.tissues.bias import estimate_bias
from medseg.tissues.contrast import borders_between, histogram_of, scores_between, to_contrast_units
from medseg.tissues.pure_tissues import pure_tissue_means

RNG = np.random.default_rng(0)
SHAPE = (40, 44, 36)
SPACING = (2.0, 2.0, 2.0)


def image_of(array, spacing=2.0):
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array[None], dtype=np.float32)), affine=affine)


def blobs(seed=0, n=3, sigma=4.0):
    """Labels 0..n-1 of smooth random regions."""
    from scipy import ndimage

    generator = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(generator.standard_normal(SHAPE), sigma) for _ in range(n)]
    return np.argmax([f / f.std() for f in fields], axis=0)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_start_means_are_the_global_optimum_of_k_means(seed, n_tissues):
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0, 100, n_tissues)
    values = np.concatenate(
        [generator.normal(c, generator.uniform(1, 8), generator.integers(20, 400)) for c in centres]
    )
    histogram = Histogram.of(values, 100)
    means = start_means(histogram, n_tissues)

    def inertia(found):
        return (histogram.shares * ((histogram.centres[:, None] - found) ** 2).min(axis=1)).sum()

    other = KMeans(n_tissues, n_init=10, random_state=0).fit(histogram.centres[:, None], sample_weight=histogram.shares)
    assert (np.diff(means) > 0).all()
    assert inertia(means) <= inertia(other.cluster_centers_[:, 0]) + 1e-9


def test_a_small_bright_tissue_is_not_merged():
    values = np.r_[RNG.normal(60, 3, 5000), RNG.normal(150, 3, 5000), RNG.normal(220, 3, 500)]
    assert np.allclose(start_means(Histogram.of(values), 3), (60, 150, 220), atol=3)
    assert np.allclose(pure_tissue_means(Histogram.of(values), 3), (60, 150, 220), atol=3)


def test_gaussian_em_finds_what_scikit_learn_finds():
    values = np.r_[RNG.normal(0, 1, 20_000), RNG.normal(6, 2, 10_000)]
    found = gaussian_em(Histogram.of(values, 400), 2, start=None, n_rounds=200)
    other = GaussianMixture(2, random_state=0, tol=1e-6, max_iter=500).fit(values[:, None])
    order = np.argsort(other.means_[:, 0])
    assert np.allclose(found.means, other.means_[order, 0], atol=0.05)
    assert np.allclose(found.sds, np.sqrt(other.covariances_[order, 0, 0]), atol=0.05)
    assert np.allclose(found.shares, other.weights_[order], atol=0.01)


def shaded(strength=0.3, noise=5.0):
    labels = blobs(1)
    ramp = 1 + strength * np.linspace(-0.5, 0.5, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    clean = np.array([60.0, 150.0, 220.0])[labels]
    return labels, ramp, np.maximum(clean * ramp + RNG.normal(0, noise, SHAPE), 0)


def test_shading_is_found():
    _, ramp, voxels = shaded()
    everywhere = image_of(np.ones(SHAPE))
    field = estimate_bias(image_of(voxels), everywhere, n_tissues=3, sigma_mm=20)
    found = resample(field, Geometry.of(everywhere))[0].numpy()
    assert found.mean() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(found.ravel(), ramp.ravel())[0, 1] > 0.97
    assert (found / ramp).std() < 0.4 * ramp.std()


def test_no_shading_is_found_where_there_is_none():
    _, _, voxels = shaded(strength=0.0)
    everywhere = image_of(np.ones(SHAPE))
    field = estimate_bias(image_of(voxels), everywhere, n_tissues=3, sigma_mm=20)
    assert float(field.std()) < 0.02


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_contrast_units_do_not_depend_on_the_scale(scale):
    labels, _, voxels = shaded()
    z = to_contrast_units(image_of(voxels * scale), image_of(np.ones(SHAPE)), n_tissues=3, bias_sigma_mm=20.0)[
        0
    ].numpy()
    assert np.median(z[labels == 1]) == pytest.approx(0, abs=0.1)
    assert np.median(z[labels == 2]) == pytest.approx(1, abs=0.1)


def test_scores_choose_the_interval_and_stay_linear():
    mean = image_of(RNG.normal(0, 2, SHAPE))
    borders = np.array([-1.0, 0.3, 1.7])
    scores = scores_between(mean, borders)
    assert np.array_equal(scores.argmax(0).numpy(), np.digitize(mean[0].numpy(), borders))
    other = image_of(RNG.normal(0, 2, SHAPE))
    middle = scores_between(MetaTensor(0.5 * (mean + other).as_tensor(), affine=mean.affine), borders)
    assert torch.allclose(middle, 0.5 * (scores + scores_between(other, borders)), atol=1e-5)


def test_borders_lie_half_way_between_pure_tissues():
    labels = blobs(2)
    mean = image_of(np.array([0.0, 1.0, 3.0])[labels] + RNG.normal(0, 0.05, SHAPE))
    means = pure_tissue_means(histogram_of(mean.as_tensor(), torch.ones(1, *SHAPE) > 0), 3)
    assert np.allclose(borders_between(means), (0.5, 2.0), atol=0.1)


def test_mixture_equals_scikit_learn():
    rows = np.r_[RNG.normal(0, 1, (3000, 3)), RNG.normal(4, 1.5, (2000, 3)) * (1, 2, 1)]
    found = Mixture.fit(rows, 2, covariance_shrinkage=0.0, seed=0)
    other = GaussianMixture(2, random_state=0, tol=1e-7, max_iter=500).fit(rows)
    order = np.argsort(other.means_[:, 0])
    assert np.allclose(found.means, other.means_[order], atol=0.05)
    assert np.allclose(found.covariances, other.covariances_[order], atol=0.15)
    assert np.abs(found.responsibilities(rows) - other.predict_proba(rows)[:, order]).max() < 0.05
    assert np.allclose(found.responsibilities(rows).sum(1), 1)


def test_neighbours_outvote_a_lone_voxel_and_zero_strength_changes_nothing():
    inside = np.ones(SHAPE, bool)
    labels = np.zeros(SHAPE, int)
    labels[20, 20, 18] = 1
    posteriors = np.eye(2)[labels.ravel()] * 0.8 + 0.1
    smooth = smooth_posteriors(posteriors, inside, 3.0, SPACING).reshape(*SHAPE, 2)
    assert smooth[20, 20, 18].argmax() == 0
    assert smooth_posteriors(posteriors, inside, 0.0, SPACING) is posteriors


def test_only_the_bulk_of_a_tissue_stays():
    inside = np.ones(SHAPE, bool)
    labels = np.zeros(SHAPE, int)
    labels[5:25, 5:25, 5:25] = 1  # the bulk
    labels[14, 14, 25:29] = 1  # a thin string on it
    labels[32:36, 32:36, 28:32] = 1  # a small part of its own
    kept = keep_bulk(np.eye(2)[labels.ravel()] * 0.8 + 0.1, inside, 1, 0.05).argmax(1).reshape(SHAPE)
    assert kept[6:24, 6:24, 6:24].all()
    assert kept[33, 33, 29] == 0
    assert kept[14, 14, 28] == 0
