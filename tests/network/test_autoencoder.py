"""The network and its posterior: exact at the borders of tiles, blind to the voxel itself, a plain mixture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.config import AutoencoderConfig
from medseg.network.autoencoder import HALO, LEAST_SPREAD, Autoencoder, every_second, from_every_second
from medseg.network.loss import loss
from medseg.network.tiled_inference import embed, white_noise
from medseg.network.windows import Window

SMALL = AutoencoderConfig(channels=4, n_components=3)


@pytest.fixture(scope="module")
def rod():
    """A long thin image, so that tiles with their halo are smaller than the whole."""
    torch.manual_seed(1)
    image = MetaTensor(torch.rand(1, 13, 22, 101), affine=torch.eye(4))
    inside = MetaTensor((torch.rand(1, 13, 22, 101) > 0.2).float(), affine=torch.eye(4))
    return image, inside


@pytest.mark.parametrize("window_voxels", [16 * 24 * 64, 16 * 24 * 24, 1])
def test_the_result_does_not_depend_on_the_windows(rod, window_voxels):
    torch.manual_seed(1)
    network = Autoencoder(SMALL, 4).eval()
    whole = embed(network, *rod)
    tiles = embed(network, *rod, window_voxels=window_voxels)
    assert whole.mean.shape == (1, 13, 22, 101)
    assert float(whole.mean.as_tensor().std()) > 1e-3
    assert (tiles.mean.as_tensor() - whole.mean.as_tensor()).abs().max() < 1e-5
    assert (tiles.sd.as_tensor() - whole.sd.as_tensor())[rod[1].as_tensor() > 0].abs().max() < 1e-4


@pytest.mark.parametrize("slab_voxels", [1, 4000, 1 << 19])
@torch.no_grad()
def test_slabs_of_a_window_have_the_features_of_the_whole(monkeypatch, slab_voxels):
    monkeypatch.setattr("medseg.network.windows.SLAB_VOXELS", slab_voxels)
    torch.manual_seed(5)
    network, x = Autoencoder(SMALL, 4), torch.rand(1, 2, 16, 24, 40)
    whole = [part.view(16, 24, 40, -1) for part in network.features(x)]
    window = Window(network, x)
    window.join()
    assert len(list(window.slabs())) == {1: 20, 4000: 4, 1 << 19: 1}[slab_voxels]
    for slab in window.slabs():
        for found, expected in zip(window.features(slab), whole, strict=True):
            torch.testing.assert_close(found, expected[:, :, slab].flatten(0, 2), rtol=1e-5, atol=1e-5)


def reached_from(network, place):
    """Gradient of the logits at `place`, (160, 16, 16)."""
    x = torch.rand(1, 2, 160, 16, 16, dtype=torch.double, requires_grad=True)
    network.double()(x).view(160, 16, 16, -1)[place, 7, 8].square().sum().backward()
    assert x.grad is not None
    return x.grad[0, 0]


def test_the_halo_covers_what_the_near_levels_see(monkeypatch):
    torch.manual_seed(2)
    for place in (79, 80, 83):
        network = Autoencoder(SMALL, 4)
        seen = torch.nonzero(reached_from(network, place).abs().amax(dim=(1, 2)) > 0).flatten()
        assert int(seen.max()) - place > 3 * HALO
        monkeypatch.setattr(network, "far", torch.zeros_like)
        used = torch.nonzero(reached_from(network, place).abs().amax(dim=(1, 2)) > 0).flatten()
        assert int(used.min()) >= place - HALO
        assert int(used.max()) <= place + HALO


@pytest.mark.parametrize("place", range(72, 80))
def test_no_voxel_sees_itself(place):
    torch.manual_seed(3)
    gradient = reached_from(Autoencoder(SMALL, 4), place)
    assert float(gradient[place, 7, 8]) == 0.0
    neighbours = [gradient[place - 1, 7, 8], gradient[place + 1, 7, 8], gradient[place, 6, 8], gradient[place, 7, 9]]
    assert all(float(g.abs()) > 0 for g in neighbours)


def test_space_to_batch_is_undone():
    x = torch.rand(2, 3, 8, 6, 4)
    assert torch.equal(from_every_second(every_second(x)), x)
    assert torch.equal(every_second(x)[0], x[0, :, ::2, ::2, ::2])


def test_the_posterior_equals_a_plain_mixture():
    """One voxel by numerical integration over the noise-free intensity u: u ~ mixture, x = u + noise."""
    torch.manual_seed(4)
    network = Autoencoder(SMALL, 4).eval()
    network.start_from(torch.rand(1000) * 3 + 5, noise=0.1)
    x, inside, affine = torch.rand(1, 1, 8, 8, 8) * 3 + 5, torch.ones(1, 1, 8, 8, 8), torch.eye(4)
    image = MetaTensor(x[0], affine=affine)
    noise = white_noise(image, MetaTensor(inside[0], affine=affine)) / float(network.scale)
    standard = (x - network.centre) / network.scale
    prior = network(torch.cat([standard, inside], 1)).view(8, 8, 8, -1)[3, 4, 5].exp()
    trained = network.log_sds.exp() ** 2
    spread = (trained - network.noise**2).clamp_min(LEAST_SPREAD**2).sqrt()
    u = torch.linspace(-8, 8, 20_001)
    density = (
        prior[:, None] * torch.distributions.Normal(network.means[:, None], spread[:, None]).log_prob(u).exp()
    ).sum(0)
    weight = density * torch.distributions.Normal(u, noise).log_prob(standard[0, 0, 3, 4, 5]).exp()
    expected = (weight * u).sum() / weight.sum()
    deviation = ((weight * (u - expected) ** 2).sum() / weight.sum()).sqrt()
    found = embed(network, image, MetaTensor(inside[0], affine=affine))
    assert float(found.mean[0, 3, 4, 5]) == pytest.approx(float(network.centre + network.scale * expected), abs=1e-3)
    assert float(found.sd[0, 3, 4, 5]) == pytest.approx(float(network.scale * deviation), abs=1e-3)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_no_component_reaches_is_kept_as_it_is(sign):
    """A tissue darker than in every training scan must not be drawn to the darkest one that is known."""
    torch.manual_seed(6)
    network = Autoencoder(SMALL, 4).eval()
    network.start_from(torch.rand(1000) * 3 + 5, noise=0.1)
    x, inside = torch.rand(1, 8, 8, 8) * 3 + 5, MetaTensor(torch.ones(1, 8, 8, 8), affine=torch.eye(4))

    def found(step):
        changed = x.clone()
        changed[0, 3, 4, 5] = 6.5 + sign * step
        return float(embed(network, MetaTensor(changed, affine=torch.eye(4)), inside, noise=1.0).mean[0, 3, 4, 5])

    assert abs(found(0.5) - found(0.0)) < 0.45
    assert found(60.0) - found(20.0) == pytest.approx(40 * sign, abs=1e-3)


def test_the_loss_is_the_likelihood_of_one_voxel():
    torch.manual_seed(5)
    network = Autoencoder(SMALL, 4).eval()
    network.start_from(torch.rand(1000) * 3 + 5, noise=0.1)
    x, alone = torch.rand(1, 1, 8, 8, 8) * 3 + 5, torch.zeros(1, 1, 8, 8, 8)
    alone[..., 3, 4, 5] = 1
    prior = network(torch.cat([network.standardise(x, alone), alone], 1)).view(8, 8, 8, -1)[3, 4, 5].exp()
    value = (x[0, 0, 3, 4, 5] - network.centre) / network.scale
    likelihood = torch.distributions.Normal(network.means, network.log_sds.exp()).log_prob(value).exp()
    expected = -float((prior * likelihood).sum().log()) - 0.5 * np.log(2 * np.pi)
    assert float(loss(network, x, alone, torch.Generator())) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sd", [0.5, 2.0])
def test_white_noise_is_measured_under_an_image(sd):
    i, j, k = torch.meshgrid(*[torch.arange(40.0)] * 3, indexing="ij")
    smooth = 30 * torch.sin(i / 9) + j + 0.5 * k
    noisy = smooth + sd * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    whole = MetaTensor(torch.ones(1, 40, 40, 40), affine=torch.eye(4))
    assert white_noise(MetaTensor(noisy[None], affine=torch.eye(4)), whole) == pytest.approx(sd, rel=0.05)
