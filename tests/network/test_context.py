"""The context encoder: targets that sum to one, latents that do not depend on the window, a loss that falls."""

from __future__ import annotations

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.network.autoencoder import Autoencoder, Encoder, load_encoder, save_encoder
from medseg.network.context import N_LATENTS, SIGMAS, ContextEncoder, context_loss, shares_around
from medseg.network.context_training import train_context
from medseg.preprocessing.prepare import Prepared

STARTS = torch.tensor([[0, 0, 0], [40, 8, 0]])


def encoder(n_inputs: int = 1) -> ContextEncoder:
    torch.manual_seed(0)
    context = ContextEncoder(n_inputs, width=8)
    context.start_from(torch.rand(5000, n_inputs), (3.0, 3.0, 3.0))
    return context


def patches(n: int = 2, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    inside = torch.ones(n, 1, 24, 24, 24)
    inside[..., :4] = 0
    return torch.rand(n, channels, 24, 24, 24), inside


@pytest.mark.parametrize("channels", [1, 2])
def test_targets_are_distributions(channels):
    image, inside = patches(channels=channels)
    context = encoder(channels)
    shares = shares_around(image, inside, context.levels)
    assert shares.shape == (2, len(SIGMAS), channels, 16, 12, 12, 12)
    assert torch.allclose(shares.sum(dim=3), torch.ones(()), atol=1e-4)
    assert float(shares.min()) >= -1e-6
    assert (shares[..., 15, :, :, 0] > 0.5).all(), "the outside is the last level"


def test_knots_and_levels_ascend_where_intensities_are_few():
    context = ContextEncoder()
    context.start_from(torch.tensor([0.0] * 500 + [1.0] * 500)[:, None], (1.0, 1.0, 1.0))
    for values in (context.knots[0], context.levels[0]):
        assert (values.diff() > 0).all()


def test_a_latent_does_not_depend_on_the_window():
    """Beyond the reach of a few coarse cells; instance or group normalisation would change it everywhere."""
    context = encoder().eval()
    image, inside = torch.rand(1, 160, 32, 32), torch.ones(1, 160, 32, 32)
    whole = context.encode(image, inside)
    part = context.encode(image[:, 32:], inside[:, 32:])
    assert whole.shape == (N_LATENTS + 3, 80, 16, 16)
    far = slice(40, 60)
    differ = (whole[:, 16:][:, far] - part[:, far]).abs().amax(dim=(1, 2, 3))
    spread = whole.std(dim=(1, 2, 3))
    assert (differ < 0.02 * spread).all()


def test_odd_sizes_are_rounded_up():
    assert encoder().encode(torch.rand(1, 21, 18, 17), torch.ones(1, 21, 18, 17)).shape[1:] == (11, 9, 9)


def test_the_loss_falls_and_differs_with_what_is_hidden():
    context = encoder()
    image, inside = patches()
    image = (image > 0.5).float() * inside
    losses = []
    optimiser = torch.optim.AdamW(context.parameters(), lr=3e-3)
    for step in range(25):
        value = context_loss(context, image, inside, STARTS, torch.Generator().manual_seed(step % 3))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    first, second = (
        float(context_loss(context, image, inside, STARTS, torch.Generator().manual_seed(n)).detach()) for n in (1, 2)
    )
    assert first != second


def test_an_empty_patch_has_a_loss():
    context = encoder()
    image = torch.zeros(1, 1, 16, 16, 16)
    assert torch.isfinite(context_loss(context, image, torch.zeros_like(image), STARTS[:1], torch.Generator()))


def test_the_exported_encoder_leaves_the_context_out(tmp_path):
    size = Encoder(4, 8).size
    network = Autoencoder(size, 8, context=encoder())
    save_encoder(network, tmp_path)
    again = load_encoder(tmp_path)
    assert not [name for name in again.state_dict() if "context" in name]


def test_places_are_learned_in_mm_across_crops():
    """A ramp of intensity along one axis says where a voxel lies; 60 steps find the axis and its sign."""
    ramp = torch.linspace(0.05, 1, 64).view(1, 64, 1, 1).expand(1, 64, 32, 32).contiguous()
    affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
    image = MetaTensor(ramp, affine=affine)
    item = Prepared(image, MetaTensor(torch.ones_like(ramp), affine=affine), image)
    torch.manual_seed(0)
    context = ContextEncoder(width=8)
    context.start_from(ramp.flatten()[:, None], (2.0, 2.0, 2.0))
    seen = []
    train_context(context, [item], n_steps=60, seed=0, on_step=lambda done, most, loss: seen.append((done, most, loss)))
    assert [done for done, _, _ in seen] == list(range(1, 61))
    assert seen[-1][2] < seen[0][2]
    place = context.encode(ramp, torch.ones_like(ramp))[N_LATENTS].mean(dim=(1, 2))
    millimetres = torch.arange(32) * 4.0
    slope = float(((place - place.mean()) * (millimetres - millimetres.mean())).sum() / millimetres.var() / 31)
    assert 0.3 < slope < 1.5


def test_a_scan_of_few_slices_is_learned_from_without_padding_it_to_a_cube():
    image = torch.rand(1, 20, 16, 5)
    affine = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))
    scan = MetaTensor(image, affine=affine)
    item = Prepared(scan, MetaTensor(torch.ones_like(image), affine=affine), scan)
    context = encoder()
    before = context.latent.weight.detach().clone()
    seen = []
    train_context(context, [item], n_steps=2, seed=0, on_step=lambda *words: seen.append(words))
    assert [done for done, _, _ in seen] == [1, 2]
    assert not torch.equal(before, context.latent.weight)
