"""The third part of the autoencoder's latent: which texture a voxel lies in, whatever the intensity there.

Windows of one region look alike, windows of two regions do not: twelve numbers a voxel, averaged over a window, must be
closer to those of a neighbouring window that shares no voxel with it than to those of far ones (contrastive predictive
coding: van den Oord et al., 2018; neighbours in space as positives: Danon et al., Computers & Graphics 2019). Nothing
is said of filters or energies. The network sees 7 voxels across, so that it is texture that it must tell apart and not
the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.network.shown_loss import ShownLoss
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.memory import freed_memory_kept

N_LATENTS = 12
WIDTH = 32
REACH = 3
"""Voxels to each side that a latent depends on."""
WINDOW = 5
"""Edge in voxels of the cube that latents are averaged over."""
NEAR = (11.0, 16.0)
"""Distances in voxels of the windows that must be alike: beyond 11 they share nothing that the network sees."""
FAR = 20.0
"""Least distance in voxels of the windows that must differ."""
TEMPERATURE = 0.3
CROP = 48
N_PAIRS = 256
RATE = 5e-3
_DRAWS = 4
"""Places that are drawn for each pair wanted; those with an end outside are left out."""


class TextureEncoder(nn.Module):
    """(N, C, I, J, K) standardised intensities -> (N, 12, I, J, K) of unit length."""

    centre: Tensor
    scale: Tensor

    def __init__(self, n_inputs: int = 1) -> None:
        super().__init__()
        sizes = (n_inputs, WIDTH, WIDTH, N_LATENTS)
        self.layers = nn.ModuleList(nn.Conv3d(a, b, 3) for a, b in pairwise(sizes))
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))

    def start_from(self, intensities: Tensor) -> None:
        """Set the unit of intensity from the cohort's (V, C) foreground."""
        columns = intensities.view(len(intensities), -1)
        self.centre.copy_(columns.mean(dim=0))
        self.scale.copy_(columns.std(dim=0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """The border value continues."""
        x = functional.pad(x, [REACH] * 6, mode="replicate")
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), 0.1)
        x = functional.pad(self.layers[-1](x), [WINDOW // 2] * 6, mode="replicate")
        return functional.normalize(functional.avg_pool3d(x, WINDOW, 1), dim=1)

    def standardised(self, image: Tensor, inside: Tensor) -> Tensor:
        """(C, I, J, K) in the cohort's unit, 0 outside the (1, I, J, K) foreground."""
        centre, scale = (part.view(-1, 1, 1, 1) for part in (self.centre, self.scale))
        return (image.to(centre.device) - centre) / scale * inside.to(centre.device)

    @torch.no_grad()
    def encode(self, image: Tensor, inside: Tensor) -> Tensor:
        """(C, I, J, K) intensities and (1, I, J, K) foreground of a whole scan -> (12, I, J, K)."""
        return cast(Tensor, self(self.standardised(image, inside)[None])[0].float().cpu())


def texture_loss(latent: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
    """Cross entropy, in nats, of finding each window's neighbour among neighbours of far ones (InfoNCE).

    Args:
        latent: (12, I, J, K) of one crop, of unit length.
        inside: (I, J, K) bool.
    """
    one, two = pairs(inside, generator)
    if len(one) < 2:
        return latent.sum() * 0
    rows = [latent[(slice(None), *place.T)].T for place in (one, two)]
    is_far = torch.cdist(one.float(), two.float()) > FAR
    own = torch.eye(len(one), dtype=torch.bool, device=latent.device)
    likeness = (rows[0] @ rows[1].T / TEMPERATURE).masked_fill(~(is_far | own), -1e4)
    return functional.cross_entropy(likeness, torch.arange(len(one), device=latent.device))


def pairs(inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two times (P, 3) voxels of the foreground, pairwise at a distance of `NEAR`."""
    where = inside.nonzero()
    if not len(where):
        return where, where
    device = inside.device
    one = where[torch.randint(len(where), (_DRAWS * N_PAIRS,), generator=generator, device=device)]
    along = functional.normalize(torch.randn((len(one), 3), generator=generator, device=device), dim=1)
    far = torch.rand((len(one), 1), generator=generator, device=device) * (NEAR[1] - NEAR[0]) + NEAR[0]
    two = one + (along * far).round().long()
    nearest = [column.clamp(0, n - 1) for column, n in zip(two.T, inside.shape, strict=True)]
    within = inside[tuple(nearest)] & (torch.stack(nearest, dim=1) == two).all(dim=1)
    chosen = within.nonzero()[:N_PAIRS, 0]
    return one[chosen], two[chosen]


@freed_memory_kept()
def train_texture(
    encoder: TextureEncoder,
    prepared: Sequence[Prepared],
    *,
    n_steps: int,
    seed: int,
    on_step: Callable[[int, int, float], None] = lambda _done, _most, _loss: None,
) -> None:
    """Train the encoder in place, on a crop of one scan a step; each scan is drawn equally often."""
    if n_steps == 0:
        return
    optimiser = torch.optim.AdamW(encoder.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=n_steps)
    shown = ShownLoss()
    for step in range(n_steps):
        randomness = np.random.default_rng((seed, step, 11))
        image, inside = (part.to(encoder.centre.device) for part in _crop(prepared[step % len(prepared)], randomness))
        generator = torch.Generator(device=encoder.centre.device).manual_seed(int(randomness.integers(1 << 31)))
        latent = encoder(encoder.standardised(image, inside)[None])[0]
        value = texture_loss(latent, inside[0] > 0, generator)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
        on_step(step + 1, n_steps, shown.told(value.detach()))


def _crop(item: Prepared, randomness: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(C, i, j, k) intensities and (1, i, j, k) foreground of a crop around a voxel of the foreground."""
    inside = item.foreground.as_tensor()
    where = np.flatnonzero(inside[0].numpy() > 0)
    centre = np.unravel_index(where[randomness.integers(len(where))], inside.shape[1:])
    starts = [int(np.clip(c - CROP // 2, 0, max(0, n - CROP))) for c, n in zip(centre, inside.shape[1:], strict=True)]
    place = (slice(None), *(slice(s, s + CROP) for s in starts))
    return item.network_image.as_tensor()[place], inside[place]
