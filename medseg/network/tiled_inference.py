"""What the network makes of a whole volume: tile by tile, in bounded memory, exact at the borders of tiles.

Only the fine levels need much memory, and they see no further than `HALO`; the coarse levels see far, and hold an
eighth of the numbers. So a volume that does not fit into one window is computed in two passes: the first keeps the
pooled fine level of every tile, the coarse levels are computed once for the whole volume, the second pass joins both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor
from torch.nn import functional

from medseg.network.autoencoder import HALO, LEAST_SPREAD, STRIDE, Autoencoder
from medseg.network.windows import Window
from medseg.preprocessing.prepare import channels_of
from medseg.runtime.memory import freed_memory_kept

WINDOW_VOXELS = 12_000_000
"""Largest window, halo included: about 170 bytes a voxel with 16 channels."""
_REACH_SDS = 3.0
"""How far beyond its components, in their standard deviations, the prior still says what an intensity means."""
_POOLED = 4
"""Voxels per cell of the pooled fine level: every second voxel, pooled once."""


class Embedding(NamedTuple):
    """(C, I, J, K) posterior mean of the noise-free intensity, and its standard deviation; on the host.

    Attributes:
        noise: standard deviation of the white noise that each channel was taken to have.
    """

    mean: MetaTensor
    sd: MetaTensor
    noise: tuple[float, ...]


Compute = Callable[[Autoencoder, Tensor, tuple[Tensor, Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]
"""(network, (C, W) standardised intensities of a slab, features of its voxels, (V,) flat voxels, (C,) noise of each
channel) -> (C, V) means and (C, V) standard deviations. All lie on the device of the network."""


class _Tile(NamedTuple):
    """Where a tile lies in the volume, its window with the halo, and the tile inside that window."""

    place: tuple[slice, ...]
    window: tuple[slice, ...]
    inner: tuple[slice, ...]


@torch.no_grad()
@freed_memory_kept()
def embed(
    network: Autoencoder,
    image: MetaTensor,
    foreground: MetaTensor,
    *,
    noise: float | None = None,
    window_voxels: int = WINDOW_VOXELS,
    compute: Compute | None = None,
) -> Embedding:
    """What the network makes of a whole volume; the result does not depend on the windows.

    Args:
        image: (C, I, J, K) on the working grid.
        foreground: (1, I, J, K) of 0 and 1.
        noise: standard deviation of the scan's white noise in the unit of `image`; None: measured in each channel.
        window_voxels: volumes up to this size are computed at once, larger ones in tiles of this size with their halo.
        compute: what to find at the voxels of a window; None: the noise-free intensity.
    """
    found_noise = [white_noise(x, foreground) if noise is None else noise for x in channels_of(image)]
    noises = [max(x, 0.01 * scale) for x, scale in zip(found_noise, network.scale.view(-1).tolist(), strict=True)]
    device = network.scale.device
    # The volume crosses once in each direction; the host keeps the mask as well, so that it never has to ask for sizes.
    inside, both = (
        foreground.as_tensor()[0] > 0,
        [x.to(device) for x in (*image.as_tensor(), foreground.as_tensor()[0])],
    )
    mean, sd = torch.zeros(image.shape, device=device), torch.ones(image.shape, device=device)
    size = [-(-n // STRIDE) * STRIDE for n in inside.shape]
    tiles = list(_tiles(size, _tile(size, window_voxels)))
    far, compute = _far(network, both, size, tiles) if len(tiles) > 1 else None, compute or _denoise
    levels = torch.tensor(noises, device=device)
    for tile in tiles:
        wanted = inside[tile.place]
        if not bool(wanted.any()):
            continue
        inner = tuple(slice(i.start, i.start + n) for i, n in zip(tile.inner, wanted.shape, strict=True))
        where = torch.zeros([w.stop - w.start for w in tile.window], dtype=torch.bool)
        where[inner] = wanted
        patch = _input(network, both, tile.window)
        window = Window(network, patch)
        window.join(None if far is None else far[_cells(tile.window)])
        found = _in_slabs(network, window, patch[0, :-1], (where, _within(patch[0, -1], inner)), compute, levels)
        place = (slice(None), *tile.place)
        mean[place], sd[place] = found[(slice(None), slice(None), *inner)]
    affine = image.affine
    return Embedding(MetaTensor(mean.cpu(), affine=affine), MetaTensor(sd.cpu(), affine=affine), tuple(noises))


def _in_slabs(
    network: Autoencoder, window: Window, x: Tensor, where: tuple[Tensor, Tensor], compute: Compute, noise: Tensor
) -> Tensor:
    """(2, C, I, J, K) means and standard deviations of the voxels `where`, elsewhere 0 and 1; on the device of `x`.

    Args:
        x: (C, I, J, K) standardised intensities of the window.
        where: (I, J, K) bool on the host, which counts, and the same on the device, which need not be asked then.
    """
    found = torch.zeros((2, *x.shape), device=x.device)
    found[1] = 1.0
    for slab in window.slabs():
        n_voxels = int(where[0][..., slab].count_nonzero())
        if n_voxels:
            rows = torch.nonzero_static(where[1][..., slab].flatten(), size=n_voxels)[:, 0]
            parts = compute(network, x[..., slab].flatten(1), window.features(slab), rows, noise)
            whole = found[..., slab].flatten(2)
            whole[..., rows] = torch.stack(parts)
            found[..., slab] = whole.view_as(found[..., slab])
    return found


def _within(foreground: Tensor, inner: tuple[slice, ...]) -> Tensor:
    """(I, J, K) bool: the foreground of a window inside its tile."""
    found = torch.zeros(foreground.shape, dtype=torch.bool, device=foreground.device)
    found[inner] = foreground[inner] > 0
    return found


def _far(network: Autoencoder, both: list[Tensor], size: Sequence[int], tiles: Sequence[_Tile]) -> Tensor:
    """What the coarse levels make of the whole volume, on the device of the network."""
    pooled: Tensor | None = None
    for tile in tiles:
        found = Window(network, _input(network, both, tile.window)).pooled()
        if pooled is None:
            shape = (*found.shape[:2], *(n // _POOLED for n in size))
            pooled = found.new_empty(shape).contiguous(memory_format=torch.channels_last_3d)
        pooled[_cells(tile.place)] = found[_cells(tile.inner)]
    if pooled is None:
        raise ValueError("expected at least one tile")
    return network.far(pooled)


def _input(network: Autoencoder, both: list[Tensor], window: tuple[slice, ...]) -> Tensor:
    """(1, C + 1, I, J, K) standardised intensity and foreground of a window, 0 beyond the volume."""
    found = torch.stack([part[window] for part in both])
    missing = [w.stop - w.start - n for w, n in zip(window, found.shape[1:], strict=True)]
    patch = functional.pad(found, [p for n in reversed(missing) for p in (0, n)])
    return torch.cat([network.standardise(patch[:-1], patch[-1:]), patch[-1:]])[None]


def _cells(place: tuple[slice, ...]) -> tuple[slice, ...]:
    """The same place in cells of the pooled fine level, behind its two first axes."""
    return (slice(None), slice(None), *(slice(p.start // _POOLED, p.stop // _POOLED) for p in place))


def _tiles(size: Sequence[int], tile: Sequence[int]) -> Iterator[_Tile]:
    """All tiles of a volume of `size` voxels, a multiple of `STRIDE` along each axis."""
    for start in product(*(range(0, n, t) for n, t in zip(size, tile, strict=True))):
        place = tuple(slice(s, min(s + t, n)) for s, t, n in zip(start, tile, size, strict=True))
        window = tuple(slice(max(0, p.start - HALO), min(n, p.stop + HALO)) for p, n in zip(place, size, strict=True))
        inner = tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(place, window, strict=True))
        yield _Tile(place, window, inner)


def _tile(size: Sequence[int], tile_voxels: int) -> list[int]:
    """The largest tile, in whole cells, whose window stays within `tile_voxels`; one cell at least."""
    tile = list(size)
    while math.prod(min(n, t + 2 * HALO) for n, t in zip(size, tile, strict=True)) > tile_voxels:
        longest = tile.index(max(tile))
        if tile[longest] == STRIDE:
            break
        tile[longest] = -(-tile[longest] // (2 * STRIDE)) * STRIDE
    return tile


def _denoise(
    network: Autoencoder, x: Tensor, features: tuple[Tensor, Tensor], where: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation of the noise-free intensity u at some voxels of a slab.

    u ~ sum_k p(k | surroundings) N(mean_k, spread_k) and x = u + N(0, noise), with spread_k what is left of the
    trained component's variance without the training scans' noise; channel by channel, with one k for all of them.
    Beyond `_REACH_SDS` of every component the prior knows nothing: the excess of x over that range is kept as it is.

    Args:
        x: (C, W) standardised intensities of all its voxels.
        features: of all its voxels.
        where: (V,) the voxels that are wanted.
        noise: (C,) of each channel.
    """
    means, sds = (part.T for part in network.components())
    scales, trained_noise = network.scale.view(-1, 1), network.noise.view(-1, 1)
    noises = (noise[:, None] / scales) ** 2
    spreads = (sds**2 - trained_noise**2).clamp_min(LEAST_SPREAD**2)
    totals = spreads + noises
    gains = spreads / totals
    # Component k expects base_k + gain_k x, so both moments are sums over k of (1, x, x^2) times fixed weights; the
    # first weight of all is 1, for the sum that the posterior is to be divided by.
    base = means * (1 - gains)
    low, high = (means - _REACH_SDS * totals.sqrt()).amin(dim=1), (means + _REACH_SDS * totals.sqrt()).amax(dim=1)
    one = torch.ones_like(base)
    weights = torch.stack([one, base, gains, base**2 + gains * noises, 2 * base * gains, gains**2], dim=1)
    log_posterior = network.logits(*(part[where] for part in features)).float()
    observed = x[:, where]
    values = torch.clamp(observed, low[:, None], high[:, None])
    for channel, mean, total in zip(values, means[..., None], totals[..., None], strict=True):
        log_posterior += (channel - mean).square_().mul_(-0.5 / total).sub_(0.5 * total.log())
    posterior = log_posterior.sub_(log_posterior.amax(dim=0)).exp_()
    total, *moments = (weights @ posterior).unbind(dim=1)
    moments = [moment / total for moment in moments]
    middle = moments[0] + values * moments[1]
    second = moments[2] + values * (moments[3] + values * moments[4])
    sd = (second - middle**2).clamp_min_(0).sqrt_()
    middle += observed - values
    return network.centre.view(-1, 1) + scales * middle, scales * sd


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
