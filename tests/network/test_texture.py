"""Texture: latents of unit length that do not depend on the window, pairs that share no voxel, regions told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage
from sklearn.cluster import KMeans

from medseg.network.texture import N_LATENTS, NEAR, TextureEncoder, pairs, texture_loss, train_texture
from medseg.preprocessing.prepare import Prepared

SHAPE = (40, 20, 20)


def two_textures() -> tuple[Prepared, np.ndarray]:
    """White noise in one half, smooth noise of the same mean and variance in the other."""
    randomness = np.random.default_rng(0)
    fine = randomness.standard_normal(SHAPE)
    smooth = ndimage.gaussian_filter(randomness.standard_normal(SHAPE), 1.5)
    right = np.arange(SHAPE[0])[:, None, None] >= SHAPE[0] // 2
    image = np.where(right, smooth / smooth.std(), fine / fine.std())
    volume = MetaTensor(torch.from_numpy(image[None].astype(np.float32)), affine=torch.eye(4, dtype=torch.float64))
    inside = MetaTensor(torch.ones(1, *SHAPE), affine=volume.affine)
    return Prepared(volume, inside, volume), np.broadcast_to(right, SHAPE)


def trained(prepared: Prepared, n_steps: int, seed: int = 0) -> TextureEncoder:
    torch.manual_seed(seed)
    encoder = TextureEncoder()
    encoder.start_from(prepared.network_image.as_tensor().flatten())
    train_texture(encoder, [prepared], n_steps=n_steps, seed=seed)
    return encoder


def agreement(encoder: TextureEncoder, prepared: Prepared, right: np.ndarray) -> float:
    """Share of voxels, away from the border, that two clusters of the latent put on the right side."""
    latent = encoder.encode(prepared.image.as_tensor(), prepared.foreground.as_tensor()).numpy()
    found = KMeans(2, n_init=3, random_state=0).fit_predict(latent.reshape(N_LATENTS, -1).T).reshape(SHAPE)
    sure = np.abs(np.arange(SHAPE[0]) - SHAPE[0] // 2) > 4
    share = float((found == right)[sure].mean())
    return max(share, 1 - share)


def test_training_tells_textures_of_one_mean_and_variance_apart():
    prepared, right = two_textures()
    assert agreement(trained(prepared, 40), prepared, right) > 0.95
    assert agreement(trained(prepared, 0), prepared, right) < 0.9


def test_latents_have_unit_length_and_do_not_depend_on_the_window():
    image, inside = torch.randn(2, 24, 22, 20), torch.ones(1, 24, 22, 20)
    encoder = TextureEncoder(2)
    whole = encoder.encode(image, inside)
    assert whole.shape == (N_LATENTS, 24, 22, 20)
    assert torch.allclose(whole.norm(dim=0), torch.ones(24, 22, 20), atol=1e-5)
    part = encoder.encode(image[:, 4:], inside[:, 4:])
    assert torch.allclose(part[:, 5:], whole[:, 9:], atol=1e-5)


def test_pairs_lie_in_the_foreground_at_the_wanted_distance():
    inside = torch.zeros(40, 30, 30, dtype=torch.bool)
    inside[4:36, 5:25, 6:24] = True
    one, two = pairs(inside, torch.Generator().manual_seed(0))
    assert len(one) == len(two) > 50
    assert inside[tuple(one.T)].all()
    assert inside[tuple(two.T)].all()
    distance = (one - two).float().norm(dim=1)
    assert distance.min() > NEAR[0] - 1
    assert distance.max() < NEAR[1] + 1


@pytest.mark.parametrize("n_inside", [0, 1])
def test_a_crop_without_pairs_teaches_nothing(n_inside):
    inside = torch.zeros(8, 8, 8, dtype=torch.bool)
    inside.view(-1)[:n_inside] = True
    latent = torch.randn(N_LATENTS, 8, 8, 8, requires_grad=True)
    value = texture_loss(latent, inside, torch.Generator())
    value.backward()
    assert float(value.detach()) == 0
    assert latent.grad is not None


def test_the_same_seed_gives_the_same_weights():
    prepared, _ = two_textures()
    one, two = (trained(prepared, 2).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
