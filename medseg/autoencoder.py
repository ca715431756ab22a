"""The network: a 3D convolutional blind-spot autoencoder whose latent is a mixture over intensity components.

Encoder: a small multi-scale network sees the surroundings of a voxel, never the voxel itself, and gives K logits:
p(k | surroundings), a categorical latent for each voxel. Decoder: a mixture of K Gaussians,
p(x | surroundings) = sum_k p(k | surroundings) N(x; mean_k, sd_k). Training gives every voxel a high likelihood
under its surroundings, so nothing can be copied and nothing needs to be hidden at random: masked autoencoding with
the mask built into the network (Laine et al., "High-quality self-supervised deep image denoising", NeurIPS 2019).

The first convolution has a hole in the centre of its 3x3x3 kernel; all that follows works on every second voxel
(space to batch), so no path leads from a voxel to its own output. No instance or group normalisation: a latent must
not depend on the window that it is computed in.

This file needs torch and safetensors, nothing else of medseg: beside the two files that `save_encoder` writes it runs
the trained encoder anywhere (`load_encoder`).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8
"""Voxels per cell of the coarsest level: every second voxel, pooled twice."""
HALO = 8
"""Voxels around a window that its own levels depend on, in whole cells; the coarse levels see further."""


START_LOG_SD = -1.4
LEAST_SPREAD = 0.1
"""Least standard deviation of the noise-free intensity within a component, in the network's unit."""
MIN_LOG_SD = -4.6
"""Floor of the components' log standard deviation, in units of the cohort's: clean images blow the likelihood up."""


class LatentSize(Protocol):
    """What the network reads of its settings (`medseg.config.AutoencoderConfig`)."""

    @property
    def n_components(self) -> int:
        """Components of the latent."""


class Autoencoder(nn.Module):
    """(N, 2, I, J, K) intensity and foreground -> (N I J K, n_components) log p(k | surroundings), voxel by voxel.

    Sizes are multiples of `STRIDE`. Channels lie last in memory, which convolutions of few channels are fastest with.
    """

    hole: Tensor
    centre: Tensor
    scale: Tensor
    noise: Tensor

    def __init__(self, config: LatentSize, channels: int) -> None:
        super().__init__()
        width, middle, coarse = channels, channels * 3 // 2, channels * 2
        self.config = config
        hole = torch.ones(1, 1, 3, 3, 3)
        hole[..., 1, 1, 1] = 0
        self.register_buffer("hole", hole, persistent=False)
        self.first = nn.Conv3d(2, 2 * width, 3, padding=1)
        self.enter = nn.Conv3d(2 * width, width, 1)
        self.fine = _convolution(width, width)
        self.middle = nn.Sequential(_convolution(width, middle), _convolution(middle, middle))
        self.coarse = nn.Sequential(_convolution(middle, coarse), _convolution(coarse, coarse))
        self.from_coarse = nn.Conv3d(coarse, middle, 1)
        self.middle_up = _convolution(middle, middle)
        self.from_middle = nn.Conv3d(middle, width, 1)
        self.fine_up = _convolution(width, width)
        self.join = nn.Conv3d(3 * width, 2 * width, 1)
        self.head = nn.Conv3d(2 * width, config.n_components, 1)
        self.means = nn.Parameter(torch.linspace(0, 1, config.n_components))
        self.log_sds = nn.Parameter(torch.full((config.n_components,), START_LOG_SD))
        self.register_buffer("centre", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("noise", torch.tensor(0.0))
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def start_from(self, intensities: Tensor, noise: float) -> None:
        """Set the unit of intensity, and the components' means to quantiles, from the cohort.

        Args:
            intensities: (V,) values of all scans.
            noise: standard deviation of the scans' white noise in the same unit.
        """
        with torch.no_grad():
            self.centre.copy_(intensities.mean())
            self.scale.copy_(intensities.std().clamp_min(1e-6))
            self.noise.copy_(torch.tensor(noise) / self.scale.cpu())
            wanted = torch.linspace(0.01, 0.99, self.config.n_components)
            self.means.copy_(torch.quantile((intensities - self.centre.cpu()) / self.scale.cpu(), wanted))

    def standardise(self, intensity: Tensor, inside: Tensor) -> Tensor:
        """Intensities in the network's unit, 0 outside the foreground."""
        return (intensity - self.centre) / self.scale * inside

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2, I, J, K) -> (N I J K, n_components) log probabilities; channel 0 of `x` is standardised."""
        return self.log_prior(*self.features(x))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 2, I, J, K) -> what the logits are made of, (N I J K, channels) and (N I J K, 2 channels)."""
        fine, around = self.near(x)
        return self.joined(fine, around, self.far(functional.avg_pool3d(fine, 2)))

    def near(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 2, I, J, K) -> lattices (8N, channels, I/2, J/2, K/2) and (N, 2 channels, I, J, K), within `HALO`."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        around = _leaky_(functional.conv3d(x, self.first.weight * self.hole, self.first.bias, padding=1))
        lattices = every_second(self.enter(around))
        return self.fine(_leaky(lattices)) + lattices, around

    def far(self, pooled: Tensor) -> Tensor:
        """Lattices pooled by two -> what the coarse levels make of them, (8N, channels, I/4, J/4, K/4)."""
        middle = self.middle(pooled)
        coarse = self.coarse(functional.avg_pool3d(middle, 2))
        return cast(Tensor, self.from_middle(self.middle_up(middle + _enlarge(self.from_coarse(coarse)))))

    def joined(self, fine: Tensor, around: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """Both results of `near` and that of `far`, voxel by voxel, as `log_prior` takes them."""
        fine = fine + _enlarge(far)
        fine = fine + self.fine_up(_leaky(fine))
        return _by_voxel(from_every_second(fine)), _by_voxel(around)

    def log_prior(self, fine: Tensor, around: Tensor) -> Tensor:
        """(V, channels) and (V, 2 channels) of any voxels -> (V, n_components) log probabilities."""
        joined = _pointwise(self.join, torch.cat([fine, around], dim=1))
        return torch.log_softmax(_pointwise(self.head, _leaky_(joined)), dim=1)

    def log_likelihood(self, intensity: Tensor) -> Tensor:
        """(V, 1) -> (V, n_components) log N(x; mean_k, sd_k) without the constant."""
        log_sds = self.log_sds.clamp_min(MIN_LOG_SD)
        return -0.5 * ((intensity - self.means) / log_sds.exp()) ** 2 - log_sds


def loss(network: Autoencoder, patches: Tensor, inside: Tensor, _generator: torch.Generator) -> Tensor:
    """Mean negative log likelihood of the foreground voxels given their surroundings, in nats a voxel.

    Args:
        patches: (N, 1, I, J, K) intensities.
        inside: (N, 1, I, J, K) of 0 and 1.
    """
    standardised = network.standardise(patches, inside)
    log_prior = network(torch.cat([standardised, inside], dim=1)).float()
    value = torch.logsumexp(log_prior + network.log_likelihood(standardised.reshape(-1, 1)), dim=1)
    return -(value * inside.flatten()).sum() / inside.sum().clamp_min(1)


def every_second(x: Tensor) -> Tensor:
    """(N, C, I, J, K) -> (8N, C, I/2, J/2, K/2): the eight lattices of every second voxel, as a batch."""
    n, c, i, j, k = x.shape
    blocks = x.permute(0, 2, 3, 4, 1).reshape(n, i // 2, 2, j // 2, 2, k // 2, 2, c).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return blocks.reshape(n * 8, i // 2, j // 2, k // 2, c).permute(0, 4, 1, 2, 3)


def from_every_second(x: Tensor) -> Tensor:
    """The inverse of `every_second`."""
    n, c, i, j, k = x.shape
    blocks = x.permute(0, 2, 3, 4, 1).reshape(n // 8, 2, 2, 2, i, j, k, c).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return blocks.reshape(n // 8, 2 * i, 2 * j, 2 * k, c).permute(0, 4, 1, 2, 3)


def _by_voxel(x: Tensor) -> Tensor:
    """(N, C, I, J, K) -> (N I J K, C), without a copy where channels lie last."""
    return x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])


def _pointwise(convolution: nn.Conv3d, rows: Tensor) -> Tensor:
    """A 1x1x1 convolution of (V, C) rows."""
    return functional.linear(rows, convolution.weight.flatten(1), convolution.bias)


def _convolution(in_channels: int, out_channels: int) -> nn.Module:
    convolution = nn.Conv3d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(OrderedDict(conv=convolution, act=nn.LeakyReLU(0.1, inplace=True)))


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def _leaky_(x: Tensor) -> Tensor:
    return functional.leaky_relu_(x, 0.1)


def _enlarge(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def save_weights(network: Autoencoder, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, path)


def load_weights(network: Autoencoder, path: Path) -> None:
    """Read weights that `save_weights` wrote into a network of the same shape."""
    network.load_state_dict(load_file(path))


class EncoderSize(NamedTuple):
    """Size of an `Encoder`, as ``encoder.json`` holds it."""

    n_components: int
    channels: int


class Encoder(nn.Module):
    """The trained encoder by itself, for images of any size.

    (N, 2, I, J, K) intensity and foreground as the network was trained on them, on the working grid, ->
    (N, n_components, I, J, K) log p(k | surroundings). Outside the foreground the latent means nothing.
    """

    def __init__(self, n_components: int, channels: int) -> None:
        super().__init__()
        self.size = EncoderSize(n_components, channels)
        self.network = Autoencoder(self.size, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2, I, J, K) -> (N, n_components, I, J, K) log probabilities."""
        standardised = self.network.standardise(x[:, :-1], x[:, -1:])
        shape = x.shape[2:]
        missing = [after for n in reversed(shape) for after in (0, -n % STRIDE)]
        padded = functional.pad(torch.cat([standardised, x[:, -1:]], dim=1), missing)
        rows = self.network(padded).reshape(len(x), *padded.shape[2:], -1)
        return cast(Tensor, rows[:, : shape[0], : shape[1], : shape[2]].permute(0, 4, 1, 2, 3))


def save_encoder(network: Autoencoder, folder: Path) -> EncoderSize:
    """Write ``encoder.json`` and ``encoder.safetensors``, which `load_encoder` reads."""
    size = EncoderSize(network.config.n_components, network.enter.out_channels)
    (folder / "encoder.json").write_text(json.dumps(size._asdict(), indent=1) + "\n", encoding="utf-8")
    weights = {f"network.{name}": value.contiguous().cpu() for name, value in network.state_dict().items()}
    save_file(weights, folder / "encoder.safetensors")
    return size


def load_encoder(folder: Path | str) -> Encoder:
    """The encoder that `save_encoder` wrote, on the CPU, ready to run."""
    encoder = Encoder(**json.loads((Path(folder) / "encoder.json").read_text("utf-8")))
    encoder.load_state_dict(load_file(Path(folder) / "encoder.safetensors"))
    return encoder.eval()
