"""What makes a training step fast leaves its gradients what they are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.config import AutoencoderConfig
from medseg.network.autoencoder import Autoencoder, by_voxel, halved
from medseg.network.loss import loss
from medseg.network.training import autocast

CPU = torch.device("cpu")


def network(n_inputs: int = 1) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(channels=4, n_components=3), 4, n_inputs)


def patches(size: int, n_inputs: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    randomness = torch.Generator().manual_seed(1)
    intensities = torch.rand(2, n_inputs, size, size, size, generator=randomness)
    return intensities, (torch.rand(2, 1, size, size, size, generator=randomness) > 0.3).float()


def plain_loss(net: Autoencoder, intensities: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """The definition, by PyTorch's own gradients."""
    x = net.standardise(intensities, inside)
    log_prior = net(torch.cat([x, inside], dim=1))
    voxels = by_voxel(x)[:, None]
    means, sds = net.components()
    log_likelihood = (-0.5 * ((voxels - means) / sds) ** 2 - sds.log()).sum(dim=2)
    value = torch.logsumexp(log_prior + log_likelihood, dim=1)
    return -(value * inside.flatten()).sum() / inside.sum()


@pytest.mark.parametrize("n_inputs", [1, 2])
def test_the_gradients_of_the_loss_are_those_of_its_definition(n_inputs):
    net, (intensities, inside) = network(n_inputs), patches(24, n_inputs)
    found = loss(net, intensities, inside, torch.Generator())
    expected = plain_loss(net, intensities, inside)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    gradients = [torch.autograd.grad(value, list(net.parameters()), retain_graph=True) for value in (found, expected)]
    for (name, _), one, other in zip(net.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)


def test_means_of_blocks_and_their_gradients():
    x = torch.rand(2, 3, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(halved(x), functional.avg_pool3d(x, 2))
    assert torch.autograd.gradcheck(halved, (x,))


@pytest.mark.parametrize(("size", "expected"), [(8, torch.float32), (16, torch.float32), (24, torch.bfloat16)])
def test_small_patches_stay_in_single_precision_on_a_cpu(size, expected):
    with autocast(CPU, "bf16", size):
        assert functional.conv3d(torch.rand(1, 1, 3, 3, 3), torch.rand(1, 1, 3, 3, 3)).dtype == expected


def test_half_the_digits_give_nearly_the_same_gradients_every_time():
    """Memory that was freed full of NaN would show in a gradient that reads what nobody wrote, as with 16 voxels."""
    net, (intensities, inside) = network(), patches(24)
    weights = list(net.parameters())
    expected = torch.autograd.grad(loss(net, intensities, inside, torch.Generator()), weights)
    seen = []
    for _ in range(3):
        poison = [torch.full((2**n,), float("nan")) for n in range(4, 20)]
        del poison
        with autocast(CPU, "bf16", 24):
            value = loss(net, intensities, inside, torch.Generator())
        seen.append(torch.autograd.grad(value, weights))
    for (name, _), exact, first, *others in zip(net.named_parameters(), expected, *seen, strict=True):
        assert all(torch.equal(first, other) for other in others), name
        assert float((first - exact).norm()) <= 0.05 * float(exact.norm()) + 1e-4, name


class Given(Autoencoder):
    """A network whose logits and likelihoods, both (K, V), are given."""

    def __init__(self, given: torch.Tensor, likelihood: torch.Tensor) -> None:
        super().__init__(AutoencoderConfig(channels=4, n_components=3), 4)
        self.given, self.likelihood = given, likelihood

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x

    def logits(self, fine: torch.Tensor, around: torch.Tensor) -> torch.Tensor:
        return self.given

    def log_likelihood(self, intensity: torch.Tensor) -> torch.Tensor:
        return self.likelihood


def test_scaled_gradients_of_half_precision_keep_their_digits():
    """fp16 loses what is small: the scale of `GradScaler` must come before it."""
    randomness, scale = torch.Generator().manual_seed(2), 65536.0
    logits, likelihood = (torch.randn(3, 50_000, generator=randomness) for _ in range(2))
    half = logits.half().requires_grad_()
    everywhere = torch.ones(1, 1, 50, 40, 25)
    (found,) = torch.autograd.grad(
        loss(Given(half, likelihood), everywhere, everywhere, torch.Generator()) * scale, half
    )
    whole = half.detach().float().requires_grad_()
    value = torch.logsumexp(whole, dim=0) - torch.logsumexp(whole + likelihood, dim=0)
    (expected,) = torch.autograd.grad(value.mean() * scale, whole)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), expected, rtol=2e-3, atol=1e-4)
