"""The network: a 3D convolutional blind-spot autoencoder whose latent is a mixture over intensity components.

Encoder: a small multi-scale network sees the surroundings of a voxel, never the voxel itself, and gives K logits:
p(k | surroundings), a categorical latent for each voxel. Decoder: a mixture of K Gaussians,
p(x | surroundings) = sum_k p(k | surroundings) N(x; mean_k, sd_k). Training gives every voxel a high likelihood
under its surroundings, so nothing can be copied and nothing needs to be hidden at random: masked autoencoding with
the mask built into the network (Laine et al., "High-quality self-supervised deep image denoising", NeurIPS 2019).

The first convolution has a hole in the centre of its 3x3x3 kernel; all that follows works on every second voxel
(space to batch), so no path leads from a voxel to its own output. No instance or group normalisation: a latent must
not depend on the window that it is computed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from monai.data.meta_tensor import MetaTensor
from monai.networks.blocks.convolutions import Convolution
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from medseg.config import AutoencoderConfig

STRIDE = 8
"""Voxels per cell of the coarsest level: every second voxel, pooled twice."""
HALO = 56
"""Voxels around a window that its result depends on, in whole cells; a test measures it."""
WINDOW_VOXELS = 6_000_000
"""Largest window that is computed at once: about 500 bytes a voxel with 16 channels."""
_ROWS = 1 << 18
"""Voxels whose posterior is computed at once."""


START_LOG_SD = -1.4
LEAST_SPREAD = 0.1
"""Least standard deviation of the noise-free intensity within a component, in the network's unit."""
MIN_LOG_SD = -4.6
"""Floor of the components' log standard deviation, in units of the cohort's: clean images blow the likelihood up."""


class Autoencoder(nn.Module):
    """(N, 2, I, J, K) intensity and foreground -> (N I J K, n_components) log p(k | surroundings), voxel by voxel.

    Sizes are multiples of `STRIDE`. Channels lie last in memory, which convolutions of few channels are fastest with.
    """

    hole: Tensor
    centre: Tensor
    scale: Tensor
    noise: Tensor

    def __init__(self, config: AutoencoderConfig, channels: int) -> None:
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
        x = x.contiguous(memory_format=torch.channels_last_3d)
        around = _leaky_(functional.conv3d(x, self.first.weight * self.hole, self.first.bias, padding=1))
        lattices = every_second(self.enter(around))
        fine = self.fine(_leaky(lattices)) + lattices
        middle = self.middle(functional.avg_pool3d(fine, 2))
        coarse = self.coarse(functional.avg_pool3d(middle, 2))
        middle = self.middle_up(middle + _enlarge(self.from_coarse(coarse)))
        fine = fine + _enlarge(self.from_middle(middle))
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
    return Convolution(3, in_channels, out_channels, kernel_size=3, act=_ACT, norm=None)


_ACT = ("LEAKYRELU", {"negative_slope": 0.1, "inplace": True})


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def _leaky_(x: Tensor) -> Tensor:
    return functional.leaky_relu_(x, 0.1)


def _enlarge(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


class Embedding(NamedTuple):
    """(1, I, J, K) posterior mean of the noise-free intensity, and its standard deviation."""

    mean: MetaTensor
    sd: MetaTensor


Compute = Callable[[Autoencoder, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""(network, (2, I, J, K) window, (V,) flat voxels, noise) -> (V,) means and (V,) standard deviations."""


@torch.no_grad()
def embed(
    network: Autoencoder,
    image: MetaTensor,
    foreground: MetaTensor,
    *,
    noise: float | None = None,
    window_voxels: int = WINDOW_VOXELS,
    compute: Compute | None = None,
) -> Embedding:
    """What the network makes of a whole volume, tile by tile, exact at tile borders.

    Every tile is computed with a halo of the receptive field and starts on a whole cell, so the result does not
    depend on `window_voxels`, the bound on a tile with its halo. Tiles without foreground are skipped.

    Args:
        image: (1, I, J, K) on the working grid.
        foreground: (1, I, J, K) of 0 and 1.
        noise: standard deviation of the scan's white noise in the unit of `image`; None: measured.
        compute: what to find at the voxels of a window; None: the noise-free intensity.
    """
    device = next(network.parameters()).device
    inside = foreground.as_tensor()[0] > 0
    shape = inside.shape
    both = torch.cat([image.as_tensor(), foreground.as_tensor()])
    padded = functional.pad(both, [p for n in reversed(shape) for p in (0, -n % STRIDE)])
    mean, sd = torch.zeros(shape), torch.ones(shape)
    found_noise = white_noise(image, foreground) if noise is None else noise
    noise = max(found_noise, 0.01 * float(network.scale))
    tile = _tile(shape, window_voxels)
    for start in product(*(range(0, n, t) for n, t in zip(shape, tile, strict=True))):
        place = tuple(slice(s, min(s + t, n)) for s, t, n in zip(start, tile, shape, strict=True))
        wanted = inside[place]
        if not bool(wanted.any()):
            continue
        window = tuple(slice(max(0, s - HALO), s + t + HALO) for s, t in zip(start, tile, strict=True))
        inner = tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(place, window, strict=True))
        patch = padded[(slice(None), *window)].to(device)
        where = torch.zeros(patch.shape[1:], dtype=torch.bool)
        where[inner] = wanted
        found = (compute or _denoise)(network, patch, torch.nonzero(where.flatten())[:, 0].to(device), noise)
        mean[place][wanted], sd[place][wanted] = (part.cpu() for part in found)
    return Embedding(MetaTensor(mean[None], affine=image.affine), MetaTensor(sd[None], affine=image.affine))


def _tile(shape: Sequence[int], window_voxels: int) -> list[int]:
    """The largest tile, in whole cells, whose window stays within `window_voxels`; one cell at least."""
    tile = [-(-n // STRIDE) * STRIDE for n in shape]
    while math.prod(min(n, t + 2 * HALO) for n, t in zip(shape, tile, strict=True)) > window_voxels:
        longest = tile.index(max(tile))
        if tile[longest] == STRIDE:
            break
        tile[longest] = -(-tile[longest] // (2 * STRIDE)) * STRIDE
    return tile


def _denoise(network: Autoencoder, patch: Tensor, where: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation of the noise-free intensity u at (V,) flat voxels of a (2, I, J, K) patch.

    u ~ sum_k p(k | surroundings) N(mean_k, spread_k) and x = u + N(0, noise), with spread_k what is left of the
    trained component's variance without the training scans' noise.
    """
    x = network.standardise(patch[:1], patch[1:])
    fine, around = network.features(torch.cat([x, patch[1:]])[None])
    trained = network.log_sds.clamp_min(MIN_LOG_SD).exp() ** 2
    spread = (trained - network.noise**2).clamp_min(LEAST_SPREAD**2)
    total = spread + (noise / network.scale) ** 2
    gain = spread / total
    found = []
    for rows in where.split(_ROWS):
        log_prior = network.log_prior(fine[rows], around[rows]).float()
        residual = x.flatten()[rows][:, None] - network.means
        posterior = torch.softmax(log_prior - 0.5 * residual**2 / total - 0.5 * total.log(), dim=1)
        expected = network.means + gain * residual
        mean = (posterior * expected).sum(1)
        variance = (posterior * (expected**2 + gain * (noise / network.scale) ** 2)).sum(1) - mean**2
        found.append((mean, variance.clamp_min(0).sqrt()))
    mean, sd = (torch.cat(part) for part in zip(*found, strict=True))
    return network.centre + network.scale * mean, network.scale * sd


def white_noise(image: MetaTensor, foreground: MetaTensor) -> float:
    """Standard deviation of voxel-to-voxel noise of a (1, I, J, K) image inside its foreground.

    Median absolute value of the finest diagonal Haar coefficient of 2x2x2 blocks (Donoho and Johnstone,
    Biometrika 81:425, 1994); 0 when no block lies inside.
    """
    sign = torch.tensor([1.0, -1.0])
    kernel = torch.einsum("i,j,k->ijk", sign, sign, sign)[None, None] / 8**0.5
    detail = functional.conv3d(image.as_tensor()[None], kernel, stride=2)[0, 0]
    whole = -functional.max_pool3d(-foreground.as_tensor()[None], 2)[0, 0] > 0
    values = detail[whole].abs()
    return float(values.median()) / 0.6745 if values.numel() else 0.0


def save_weights(network: Autoencoder, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, path)


def load_weights(network: Autoencoder, path: Path) -> None:
    """Read weights that `save_weights` wrote into a network of the same shape."""
    network.load_state_dict(load_file(path))
