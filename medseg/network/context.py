"""The second half of the autoencoder's latent: what is around a voxel, and where it lies.

Blocks of a patch are hidden, and twelve numbers a voxel must tell how the intensities are distributed inside them, on
three scales: a target that copying cannot meet, unlike a voxel's own intensity (context encoders: Pathak et al., CVPR
2016; distributions as targets of hidden places: Wei et al., "Masked feature prediction", CVPR 2022). Three more numbers
must differ between two voxels by their distance in mm (relative position regression: Lei et al., MICCAI 2021), so that
they mean the same place whatever the field of view.

The encoder works on every second voxel. It has no normalisation over space: a latent must not depend on the window.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

N_LATENTS = 12
N_RAMPS = 4
"""Copies of each channel, each stretched between two quantiles of the cohort's intensities."""
N_LEVELS = 15
BLOCK = 8
"""Voxels along a hidden block."""
HIDDEN_SHARE = 0.45
SEEN_WEIGHT = 0.3
"""Weight of the target at seen places, of 1 at hidden ones."""
SIGMAS = (0.7, 2.0, 4.0)
"""Standard deviations of the target's windows, in cells of two voxels."""
POSITION_MM = 50.0
"""Unit of the three numbers that tell the place."""
POSITION_WEIGHT = 0.5
N_PAIRS = 1024


class ContextEncoder(nn.Module):
    """(N, 4 C + 2, I, J, K) ramps, foreground and hidden places -> (N, 15, I/2, J/2, K/2) latent and place."""

    knots: Tensor
    levels: Tensor
    spacing_mm: Tensor

    def __init__(self, n_inputs: int = 1, width: int = 32, n_scales: int = 4) -> None:
        super().__init__()
        first = N_RAMPS * n_inputs + 2
        self.down = nn.ModuleList(_Block(first if n == 0 else width, width, 2) for n in range(n_scales))
        self.mix = nn.ModuleList(_Block(width, width, 1) for _ in range(n_scales))
        self.side = nn.ModuleList(nn.Conv3d(width, width, 1) for _ in range(n_scales))
        self.latent = nn.Conv3d(width, N_LATENTS, 1)
        self.place = nn.Sequential(nn.Conv3d(width, width, 1), nn.SiLU(), nn.Conv3d(width, 3, 1))
        n_targets = len(SIGMAS) * n_inputs * (N_LEVELS + 1)
        self.head = nn.Sequential(nn.Conv3d(N_LATENTS, 64, 1), nn.SiLU(), nn.Conv3d(64, n_targets, 1))
        self.register_buffer("knots", torch.linspace(0, 1, N_RAMPS + 1).repeat(n_inputs, 1))
        self.register_buffer("levels", torch.linspace(0, 1, N_LEVELS).repeat(n_inputs, 1))
        self.register_buffer("spacing_mm", torch.ones(3))

    def start_from(self, intensities: Tensor, spacing_mm: tuple[float, float, float]) -> None:
        """Set knots and levels from the cohort's (V, C) foreground intensities, and the spacing of its working grid."""
        columns = intensities.view(len(intensities), -1).T
        with torch.no_grad():
            for number, column in enumerate(columns):
                self.knots[number] = _apart(torch.quantile(column, torch.linspace(0.005, 0.995, N_RAMPS + 1)))
                low, high = torch.quantile(column, torch.tensor([0.005, 0.995]))
                half = torch.quantile(column, torch.linspace(0.02, 0.98, N_LEVELS // 2))
                even = torch.linspace(0, 1, N_LEVELS - N_LEVELS // 2) * (high - low) + low
                self.levels[number] = _apart(torch.cat([half, even]).sort().values)
            self.spacing_mm.copy_(torch.tensor(spacing_mm))

    def channels(self, image: Tensor, inside: Tensor) -> Tensor:
        """(N, C, I, J, K) intensities and their foreground -> (N, 4 C + 1, I, J, K) in -1 to 1, 0 outside."""
        ramps = []
        for channel, knots in zip(image.split(1, dim=1), self.knots, strict=True):
            ramps += [((channel - a) / (b - a)).clamp(0, 1) * 2 - 1 for a, b in pairwise(knots)]
        return torch.cat([torch.cat(ramps, dim=1) * inside, inside], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 4 C + 2, I, J, K) -> (N, 12, ...) latent and (N, 3, ...) place in units of `POSITION_MM`, on cells."""
        features = self._features(x)
        return self.latent(features), self.place(features)

    def _features(self, x: Tensor) -> Tensor:
        """(N, width, I/2, J/2, K/2)."""
        scales = []
        for down, mix in zip(self.down, self.mix, strict=True):
            x = down(x)
            x = x + mix(x)
            scales.append(x)
        top = self.side[-1](scales[-1])
        for scale, side in zip(scales[-2::-1], list(self.side)[-2::-1], strict=True):
            top = side(scale) + functional.interpolate(top, size=scale.shape[2:], mode="trilinear", align_corners=False)
        return functional.silu(top)

    def log_shares(self, latent: Tensor) -> Tensor:
        """(N, 12, i, j, k) -> (N, scales, C, levels + 1, i, j, k) log shares of the intensities around a cell."""
        found = self.head(latent)
        return cast(Tensor, found.unflatten(1, (len(SIGMAS), len(self.levels), N_LEVELS + 1)).log_softmax(dim=3))

    @torch.no_grad()
    def encode(self, image: Tensor, inside: Tensor) -> Tensor:
        """(C, I, J, K) intensities and (1, I, J, K) foreground of a whole scan -> (15, I/2, J/2, K/2).

        Sizes are rounded up. The latent first, then the place in mm; nothing is hidden.
        """
        device = self.knots.device
        odd = [p for n in reversed(inside.shape[1:]) for p in (0, n % 2)]
        both = [functional.pad(part, odd)[None].to(device) for part in (image, inside)]
        seen = self.channels(both[0], both[1])
        latent, place = self(torch.cat([seen, torch.zeros_like(seen[:, :1])], dim=1))
        return torch.cat([latent, place * POSITION_MM], dim=1)[0].float().cpu()


def context_loss(
    context: ContextEncoder, patches: Tensor, inside: Tensor, starts: Tensor, generator: torch.Generator
) -> Tensor:
    """Cross entropy of the shares of intensities in hidden blocks, in nats, and the misplacement of voxel pairs.

    Args:
        patches: (N, C, I, J, K) intensities of one scan; sizes are multiples of `BLOCK`.
        inside: (N, 1, I, J, K) of 0 and 1.
        starts: (N, 3) first voxel of each patch in the scan.
    """
    blocks = [n // BLOCK for n in patches.shape[2:]]
    drawn = torch.rand((len(patches), 1, *blocks), generator=generator, device=patches.device) < HIDDEN_SHARE
    hidden = drawn.to(patches.dtype)
    full, cells = (functional.interpolate(hidden, scale_factor=n) for n in (BLOCK, BLOCK // 2))
    seen = context.channels(patches, inside)
    latent, place = context(torch.cat([seen * (1 - full), -full], dim=1))
    target = shares_around(patches, inside, context.levels)
    entropy = -(target * context.log_shares(latent)).sum(dim=3).mean(dim=(1, 2))[:, None]
    weight = SEEN_WEIGHT + (1 - SEEN_WEIGHT) * cells
    found = (entropy * weight).sum() / weight.sum()
    return found + POSITION_WEIGHT * _misplacement(place, inside, starts, context.spacing_mm, generator)


def shares_around(patches: Tensor, inside: Tensor, levels: Tensor) -> Tensor:
    """(N, scales, C, levels + 1, i, j, k): shares of each level of intensity, and of the outside, around each cell."""
    n, shape = len(patches), tuple(size // 2 for size in patches.shape[2:])
    cell, n_cells = _cells(n, shape, patches.device), math.prod(shape)
    weight, found = inside[:, 0] / 8, []
    for channel, own in zip(patches.split(1, dim=1), levels, strict=True):
        x = channel[:, 0].clamp(own[0], own[-1])
        lower = torch.bucketize(x, own[1:-1].contiguous())
        above = (x - own[lower]) / (own[lower + 1] - own[lower]) * weight
        bins = torch.zeros(n * N_LEVELS * n_cells, device=x.device, dtype=x.dtype)
        place = cell + lower * n_cells
        bins.scatter_add_(0, place.flatten(), (weight - above).flatten())
        bins.scatter_add_(0, (place + n_cells).flatten(), above.flatten())
        cells = bins.view(n, N_LEVELS, *shape)
        found.append(torch.cat([cells, 1 - cells.sum(dim=1, keepdim=True)], dim=1))
    together = torch.stack(found, dim=1)
    return torch.stack([_smoothed(together, sigma) for sigma in SIGMAS], dim=1)


def _cells(n: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """(n, 2 i, 2 j, 2 k): where each voxel's cell lies among `n` times `N_LEVELS` volumes of cells, at level 0."""
    n_cells = math.prod(shape)
    cell = torch.arange(n_cells, device=device).view(shape)
    for axis in range(3):
        cell = cell.repeat_interleave(2, dim=axis)
    return cell + N_LEVELS * n_cells * torch.arange(n, device=device).view(-1, 1, 1, 1)


def _smoothed(x: Tensor, sigma: float) -> Tensor:
    """Gaussian over the last three axes, one matrix product each; the border value continues."""
    first, *others = (_gaussian(n, sigma, x) for n in x.shape[-3:])
    x = (first @ x.flatten(-2)).view(x.shape)
    return others[0] @ x @ others[1].T


def _gaussian(n: int, sigma: float, like: Tensor) -> Tensor:
    """(n, n) weights of a line of n values whose ends continue."""
    reach = int(3 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=like.device)
    kernel = torch.exp(-0.5 * (offsets.to(like.dtype) / sigma) ** 2)
    places = (torch.arange(n, device=like.device)[:, None] + offsets).clamp(0, n - 1)
    weights = torch.zeros(n, n, device=like.device, dtype=like.dtype)
    return weights.scatter_add_(1, places, (kernel / kernel.sum()).expand(n, -1))


def _misplacement(
    place: Tensor, inside: Tensor, starts: Tensor, spacing_mm: Tensor, generator: torch.Generator
) -> Tensor:
    """Smooth L1 distance between differences of the three numbers and distances, over pairs of cells of all patches."""
    where = (functional.avg_pool3d(inside, 2)[:, 0] > 0.5).nonzero()
    if len(where) < 2:
        return place.sum() * 0
    chosen = torch.randint(len(where), (2, N_PAIRS), generator=generator, device=where.device)
    pairs = where[chosen]
    voxels = starts.to(pairs.device)[pairs[..., 0]] + 2 * pairs[..., 1:]
    wanted = (voxels[0] - voxels[1]) * spacing_mm / POSITION_MM
    found = place.permute(0, 2, 3, 4, 1)[tuple(pairs.unbind(dim=-1))]
    return functional.smooth_l1_loss(found[0] - found[1], wanted.to(found.dtype))


def _apart(values: Tensor) -> Tensor:
    """Ascending values, none closer to the one before than a thousandth of their range."""
    least = 1e-3 * float(values[-1] - values[0]) + 1e-6
    found = [float(values[0])]
    for value in values[1:].tolist():
        found.append(max(value, found[-1] + least))
    return torch.tensor(found)


class _Block(nn.Module):
    """Convolution, unit mean square over the channels of each voxel (no statistic over space), SiLU."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, 3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        return functional.silu(x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-4))
