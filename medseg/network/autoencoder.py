"""The network: a 3D convolutional blind-spot autoencoder whose latent is a mixture over intensity components.

Encoder: a small multi-scale network sees the surroundings of a voxel, never the voxel itself, and gives K logits:
p(k | surroundings), a categorical latent for each voxel. Decoder: a mixture of K Gaussians,
p(x | surroundings) = sum_k p(k | surroundings) N(x; mean_k, sd_k). Training gives every voxel a high likelihood
under its surroundings, so nothing can be copied and nothing needs to be hidden at random: masked autoencoding with
the mask built into the network (Laine et al., "High-quality self-supervised deep image denoising", NeurIPS 2019).
With several channels x is a vector, of which no entry is seen; the components' Gaussians have a mean and a standard
deviation in each channel.

The first convolution has a hole in the centre of its 3x3x3 kernel; all that follows works on every second voxel
(space to batch), so no path leads from a voxel to its own output. No instance or group normalisation: a latent must
not depend on the window that it is computed in.

This file needs torch and safetensors, nothing else of medseg: beside the two files that `save_encoder` writes it runs
the trained encoder anywhere (`load_encoder`).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8
"""Voxels per cell of the coarsest level: every second voxel, pooled twice."""
HALO = 8
"""Voxels around a window that its own levels depend on, in whole cells; the coarse levels see further."""
START_LOG_SD = -1.4
LEAST_SPREAD = 0.1
"""Least standard deviation of the noise-free intensity within a component, in the network's unit."""
_FEW_VOXELS = 200_000
"""Up to here a CPU gathers the neighbours of every voxel for one matrix product: patches in single precision."""
MIN_LOG_SD = -4.6
"""Floor of the components' log standard deviation, in units of the cohort's: clean images blow the likelihood up."""


class LatentSize(Protocol):
    """What the network reads of its settings (`medseg.config.AutoencoderConfig`)."""

    @property
    def n_components(self) -> int:
        """Components of the latent."""


class Autoencoder(nn.Module):
    """(N, C + 1, I, J, K) intensity and foreground -> (N I J K, n_components) log p(k | surroundings), voxel by voxel.

    C is the number of channels of a scan; where it is one, what has an entry for each channel has no axis for it. Sizes
    are multiples of `STRIDE`. Channels lie last in memory, which convolutions of few channels are fastest with.
    """

    hole: Tensor
    centre: Tensor
    scale: Tensor
    noise: Tensor

    def __init__(self, config: LatentSize, channels: int, n_inputs: int = 1, **heads: nn.Module | None) -> None:
        super().__init__()
        # What else is learned of a voxel's surroundings, by targets of their own.
        self.context, self.texture = heads.get("context"), heads.get("texture")
        each = () if n_inputs == 1 else (n_inputs,)
        width, middle, coarse = channels, channels * 3 // 2, channels * 2
        self.config = config
        self.n_inputs = n_inputs
        hole = torch.ones(1, 1, 3, 3, 3)
        hole[..., 1, 1, 1] = 0
        self.register_buffer("hole", hole, persistent=False)
        self.first = nn.Conv3d(n_inputs + 1, 2 * width, 3, padding=1)
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
        means = torch.linspace(0, 1, config.n_components).view(-1, *(1 for _ in each))
        self.means = nn.Parameter(means.repeat(1, *each))
        self.log_sds = nn.Parameter(torch.full((config.n_components, *each), START_LOG_SD))
        self.register_buffer("centre", torch.zeros(each))
        self.register_buffer("scale", torch.ones(each))
        self.register_buffer("noise", torch.zeros(each))
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def start_from(
        self, intensities: Tensor, noise: float | Sequence[float], centres: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Set the unit of intensity, and the components' means, from the cohort.

        Args:
            intensities: (V,) values of all scans, or (V, C).
            noise: standard deviation of the scans' white noise in the same unit, of each channel.
            centres: finds the means in (V, C) standardised intensities; None: quantiles, for one channel.
        """
        with torch.no_grad():
            self.centre.copy_(intensities.mean(dim=0))
            self.scale.copy_(intensities.std(dim=0).clamp_min(1e-6))
            self.noise.copy_(torch.tensor(noise) / self.scale.cpu())
            standard = (intensities - self.centre.cpu()) / self.scale.cpu()
            wanted = torch.linspace(0.01, 0.99, self.config.n_components)
            self.means.copy_(torch.quantile(standard, wanted) if centres is None else centres(standard))

    def standardise(self, intensity: Tensor, inside: Tensor) -> Tensor:
        """Intensities in the network's unit, 0 outside the foreground."""
        return (intensity - _by_channel(self.centre)) / _by_channel(self.scale) * inside

    def forward(self, x: Tensor) -> Tensor:
        """(N, C + 1, I, J, K) -> (N I J K, n_components) log probabilities; the first C of `x` are standardised."""
        return self.log_prior(*self.features(x))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C + 1, I, J, K) -> what the logits are made of, (N I J K, channels) and (N I J K, 2 channels).

        Of large volumes `medseg.network.windows` finds the same in a fifth of the memory.
        """
        around = self.neighbours(x)
        fine = every_second(self.enter(around))
        fine = fine + self.fine(leaky(fine))
        fine = fine + enlarged(self.far(halved(fine)))
        fine = fine + self.fine_up(leaky(fine))
        return by_voxel(from_every_second(fine)), by_voxel(around)

    def neighbours(self, x: Tensor, padding: Sequence[int] = (1, 1, 1)) -> Tensor:
        """The first convolution and its activation, (N, 2 channels, I, J, K): what a voxel's neighbours say of it.

        Args:
            padding: zeros around `x` along each axis; without, the result is two voxels shorter.
        """
        if x.device.type != "cpu" or x[:, 0].numel() > _FEW_VOXELS or torch.is_autocast_enabled("cpu"):
            x, weight = x.contiguous(memory_format=torch.channels_last_3d), self.first.weight * self.hole
            return leaky(functional.conv3d(x, weight, self.first.bias, padding=tuple(padding)), inplace=True)
        padded = functional.pad(x.transpose(0, 1), [n for n in reversed(padding) for _ in range(2)])
        around = padded.unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1).permute(0, 5, 6, 7, 1, 2, 3, 4)
        shape = around.shape[4:]
        weights = (self.first.weight * self.hole).flatten(1)
        rows = functional.linear(around.reshape(weights.shape[1], -1).T, weights, self.first.bias)
        return leaky(rows, inplace=True).view(*shape, -1).permute(0, 4, 1, 2, 3)

    def far(self, pooled: Tensor) -> Tensor:
        """Lattices pooled by two -> what the coarse levels make of them, (8N, channels, I/4, J/4, K/4)."""
        middle = self.middle(pooled)
        coarse = self.coarse(halved(middle))
        return cast(Tensor, self.from_middle(self.middle_up(middle + enlarged(self.from_coarse(coarse)))))

    def log_prior(self, fine: Tensor, around: Tensor) -> Tensor:
        """(V, channels) and (V, 2 channels) of any voxels -> (V, n_components) log probabilities."""
        return torch.log_softmax(self.logits(fine, around).T, dim=1)

    def logits(self, fine: Tensor, around: Tensor) -> Tensor:
        """(V, channels) and (V, 2 channels) of any voxels -> (n_components, V), not normalised; voxels lie last."""
        weights = self.join.weight.flatten(1).split([fine.shape[1], around.shape[1]], dim=1)
        joined = torch.addmm(functional.linear(fine, weights[0], self.join.bias), around, weights[1].T)
        joined = leaky(joined, inplace=True)
        return torch.addmm(cast(Tensor, self.head.bias)[:, None], self.head.weight.flatten(1), joined.T)

    def log_likelihood(self, intensity: Tensor) -> Tensor:
        """(V, C) -> (n_components, V) log N(x; mean_k, sd_k) without the constant."""
        means, sds = self.components()
        found = -sds.log().sum(dim=1, keepdim=True)
        slopes = sds.reciprocal() * 0.5**0.5
        for x, slope, start in zip(intensity.T, slopes.T, (-means * slopes).T, strict=True):
            residuals = torch.addcmul(start[:, None], slope[:, None], x)
            found = torch.addcmul(found, residuals, residuals, value=-1)
        return found

    def components(self) -> tuple[Tensor, Tensor]:
        """(n_components, C) means and standard deviations, in the network's unit."""
        shape = (-1, self.n_inputs)
        return self.means.view(shape), self.log_sds.clamp_min(MIN_LOG_SD).exp().view(shape)


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


def by_voxel(x: Tensor) -> Tensor:
    """(N, C, I, J, K) -> (N I J K, C), without a copy where channels lie last."""
    return x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])


def _by_channel(values: Tensor) -> Tensor:
    """One value a channel, to be used with (..., C, I, J, K)."""
    return values.view(-1, 1, 1, 1)


def _convolution(in_channels: int, out_channels: int) -> nn.Module:
    convolution = nn.Conv3d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(OrderedDict(conv=convolution, act=nn.LeakyReLU(0.1, inplace=True)))


def leaky(x: Tensor, inplace: bool = False) -> Tensor:
    """The activation."""
    return functional.leaky_relu(x, 0.1, inplace)


class _Halved(torch.autograd.Function):
    """Means of blocks of 2x2x2, both ways several times as fast as `avg_pool3d` on a CPU."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x[..., ::2, :, :] + x[..., 1::2, :, :]
        x = x[..., ::2, :] + x[..., 1::2, :]
        return (x[..., ::2] + x[..., 1::2]) * 0.125

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return functional.interpolate(gradient * 0.125, scale_factor=2, mode="nearest")


def halved(x: Tensor) -> Tensor:
    """(N, C, I, J, K) of even sizes -> means of blocks of 2x2x2."""
    return cast(Tensor, _Halved.apply(x)) if x.device.type == "cpu" else functional.avg_pool3d(x, 2)


def enlarged(x: Tensor) -> Tensor:
    """The way back from `halved`, linear in between."""
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


class EncoderSize(NamedTuple):
    """Size of an `Encoder`, as ``encoder.json`` holds it."""

    n_components: int
    channels: int
    n_inputs: int = 1


class Encoder(nn.Module):
    """The trained encoder by itself, for images of any size.

    (N, C + 1, I, J, K) intensities and foreground as the network was trained on them, on the working grid, ->
    (N, n_components, I, J, K) log p(k | surroundings). Outside the foreground the latent means nothing.
    """

    def __init__(self, n_components: int, channels: int, n_inputs: int = 1) -> None:
        super().__init__()
        self.size = EncoderSize(n_components, channels, n_inputs)
        self.network = Autoencoder(self.size, channels, n_inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C + 1, I, J, K) -> (N, n_components, I, J, K) log probabilities."""
        standardised = self.network.standardise(x[:, :-1], x[:, -1:])
        shape = x.shape[2:]
        missing = [after for n in reversed(shape) for after in (0, -n % STRIDE)]
        padded = functional.pad(torch.cat([standardised, x[:, -1:]], dim=1), missing)
        rows = self.network(padded).reshape(len(x), *padded.shape[2:], -1)
        return cast(Tensor, rows[:, : shape[0], : shape[1], : shape[2]].permute(0, 4, 1, 2, 3))


def save_encoder(network: Autoencoder, folder: Path) -> EncoderSize:
    """Write ``encoder.json`` and ``encoder.safetensors``, which `load_encoder` reads."""
    size = EncoderSize(network.config.n_components, network.enter.out_channels, network.n_inputs)
    (folder / "encoder.json").write_text(json.dumps(size._asdict(), indent=1) + "\n", encoding="utf-8")
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("context.")}
    weights = {f"network.{name}": value.contiguous().cpu() for name, value in own.items()}
    (folder / "encoder.safetensors").write_bytes(save(weights))  # `save_file` leaves files for their owner only
    return size


def load_encoder(folder: Path | str) -> Encoder:
    """The encoder that `save_encoder` wrote, on the CPU, ready to run."""
    encoder = Encoder(**json.loads((Path(folder) / "encoder.json").read_text("utf-8")))
    encoder.load_state_dict(load_file(Path(folder) / "encoder.safetensors"))
    return encoder.eval()
