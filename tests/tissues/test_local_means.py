from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.spatial.smoothing import FieldRegression
from medseg.tissues.local_means import local_means, local_posteriors, piecewise_map, straighten
from medseg.tissues.partial_volume import partial_volume_likelihoods

SHAPE = (48, 48, 40)
MEANS = np.array([-2.0, 0.0, 1.0])
EVERYWHERE = np.ones(SHAPE)


def image_of(array, spacing=2.0):
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array[None], dtype=np.float32)), affine=affine)


def regions(sigma=4.0, seed=1):
    """Labels 0, 1, 2 of smooth random regions."""
    randomness = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(randomness.standard_normal(SHAPE), sigma) for _ in MEANS]
    return np.argmax([field / field.std() for field in fields], axis=0)


def ramp(height):
    return height * np.linspace(-0.5, 0.5, SHAPE[0])[:, None, None] * np.ones(SHAPE)


def accuracy(flat, means, labels):
    return (np.digitize(flat.as_tensor()[0].numpy(), (means[1:] + means[:-1]) / 2) == labels).mean()


def test_drifting_tissues_become_constant():
    labels = regions()
    drifting = MEANS[labels] + ramp(0.5)
    flat, _, means = straighten(image_of(drifting), image_of(EVERYWHERE), n_tissues=3, sigma_mm=6)
    for label in range(3):
        inner = ndimage.binary_erosion(labels == label, iterations=2)
        assert flat[0].numpy()[inner].std() < 0.3 * drifting[inner].std()
        assert flat[0].numpy()[inner].mean() == pytest.approx(means[label], abs=0.05)


def test_a_tissue_that_is_brighter_in_one_region_stays_itself():
    """The middle tissue lies at 0, in one half at .3: the best single border, chosen on the truth, is worse."""
    labels = regions()
    sharp = MEANS[labels] + 0.3 * (labels == 1) * (ramp(1) > 0)
    image = ndimage.gaussian_filter(sharp, 0.7) + np.random.default_rng(0).normal(0, 0.1, SHAPE)
    flat, _, means = straighten(image_of(image), image_of(EVERYWHERE), n_tissues=3, sigma_mm=6)
    plain = max((np.digitize(image, (-1.0, border)) == labels).mean() for border in np.linspace(0.3, 0.8, 21))
    assert accuracy(flat, means, labels) > plain + 0.003


def test_blurred_borders_do_not_pull_the_means():
    """Where sheets of tissue are thin, most voxels are mixed; nothing is changed where nothing is wrong."""
    labels = regions(sigma=2.5)
    mixed = ndimage.gaussian_filter(MEANS[labels], 1.0) + np.random.default_rng(0).normal(0, 0.03, SHAPE)
    flat, _, means = straighten(image_of(mixed), image_of(EVERYWHERE), n_tissues=3, sigma_mm=6)
    assert np.abs(means - MEANS).max() < 0.2
    assert accuracy(flat, means, labels) > (np.digitize(mixed, (-1.0, 0.5)) == labels).mean() - 0.01


def test_posteriors_of_equal_means_everywhere_are_those_of_the_histogram():
    """A second implementation: the global likelihoods, whose two halves between neighbours are one here."""
    values = np.linspace(-2.8, 1.8, 200)
    sds, shares = np.full(3, 0.2), np.array([0.2, 0.3, 0.2, 0.1, 0.2])
    local = torch.from_numpy(np.repeat(MEANS[:, None], len(values), axis=1)).float()
    found = local_posteriors(
        torch.from_numpy(values).float(), local, torch.full((3,), 0.2), torch.tensor(shares).float(), torch.zeros(2)
    )
    parts = partial_volume_likelihoods(values, MEANS, sds).T
    halves = [parts[3] + parts[4], parts[5] + parts[6]]
    expected = np.stack([*parts[:3], halves[0] / 2, halves[1] / 2]) * shares[:, None] + 1e-12
    assert np.allclose(found.numpy(), expected / expected.sum(axis=0), atol=2e-4)
    assert torch.allclose(found.sum(dim=0), torch.ones(len(values)))


def test_a_tissue_that_is_not_there_keeps_its_global_mean():
    labels = regions()
    labels[: SHAPE[0] // 2] = np.minimum(labels[: SHAPE[0] // 2], 1)
    image = MEANS[labels] + np.random.default_rng(0).normal(0, 0.05, SHAPE)
    regression = FieldRegression(image_of(EVERYWHERE), 6.0)
    fields, means = local_means(regression, regression.pick(image_of(image)), 3)
    assert np.isfinite(fields).all()
    assert fields[2][0].mean() == pytest.approx(means[2], abs=0.05)


def test_labels_do_not_depend_on_the_unit_of_the_intensity():
    labels = regions()
    image = MEANS[labels] + np.random.default_rng(0).normal(0, 0.1, SHAPE)
    found = []
    for scale, shift in ((1.0, 0.0), (40.0, 300.0)):
        flat, _, means = straighten(image_of(image * scale + shift), image_of(EVERYWHERE), n_tissues=3, sigma_mm=6)
        found.append(np.digitize(flat[0].numpy(), (means[1:] + means[:-1]) / 2))
    assert (found[0] == found[1]).mean() > 0.999


def test_the_slope_is_the_derivative_of_the_map():
    randomness = torch.Generator().manual_seed(0)
    values = (3 * torch.randn(1, 8, 9, 10, generator=randomness)).requires_grad_()
    fields = [mean + 0.3 * torch.randn(values.shape, generator=randomness) for mean in MEANS]
    straight, slope = piecewise_map(values, fields, MEANS)
    straight.sum().backward()
    assert values.grad is not None
    assert torch.allclose(slope, values.grad)
    assert slope.max() > 1.3
    assert 0 < slope.min() < 0.8
