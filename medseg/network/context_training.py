"""Training of the context encoder: crops of one scan a step, drawn so that rare intensities are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medseg.network.context import BLOCK, ContextEncoder, context_loss
from medseg.network.shown_loss import ShownLoss
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.memory import freed_memory_kept

CROP = 48
"""Voxels along an axis of a crop; fewer, but whole blocks, along axes on which a scan is shorter."""
N_CROPS = 3
JITTER = 8
"""Voxels by which a crop is moved at random, so that what it was drawn for is not always in its middle."""
RATE = 2e-3
MOST_GRADIENT = 1.0
_THIN = 3
"""Every n-th foreground voxel may be the centre of a crop."""


@freed_memory_kept()
def train_context(
    context: ContextEncoder,
    prepared: Sequence[Prepared],
    *,
    n_steps: int,
    seed: int,
    on_step: Callable[[int, int, float], None] = lambda _done, _most, _loss: None,
) -> None:
    """Train a context encoder in place.

    Args:
        prepared: the scans; each is drawn equally often.
        n_steps: of three crops each; the learning rate rises and falls once (Smith and Topin, 2017).
    """
    if n_steps == 0:
        return
    device = context.knots.device
    scans = [_Crops(item, context) for item in prepared]
    _lay_out(context, torch.channels_last_3d)  # convolutions are faster by a third
    optimiser = torch.optim.AdamW(context.parameters(), RATE, weight_decay=1e-2, foreach=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=n_steps)
    context.train()
    shown = ShownLoss()
    for step in range(n_steps):
        randomness = np.random.default_rng((seed, step, 7))
        image, inside, starts = (part.to(device) for part in scans[step % len(scans)].draw(randomness))
        generator = torch.Generator(device=device).manual_seed(int(randomness.integers(1 << 31)))
        value = context_loss(context, image, inside, starts, generator)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(context.parameters(), MOST_GRADIENT)
        optimiser.step()
        schedule.step()
        on_step(step + 1, n_steps, shown.told(value.detach()))
    _lay_out(context, torch.contiguous_format)
    context.eval()


def _lay_out(context: ContextEncoder, layout: torch.memory_format) -> None:
    """Keep the weights of convolutions in another order in memory."""
    for weight in context.parameters():
        if weight.dim() == 5:
            weight.data = weight.data.contiguous(memory_format=layout)


class _Crops:
    """Crops of one scan whose centres are drawn by one over the root of how common their intensity is."""

    def __init__(self, item: Prepared, context: ContextEncoder) -> None:
        volume = torch.cat([item.network_image.as_tensor(), item.foreground.as_tensor()])
        self.size = tuple(min(CROP, -(-n // BLOCK) * BLOCK) for n in volume.shape[1:])
        short = [p for n, size in zip(volume.shape[:0:-1], self.size[::-1], strict=True) for p in (0, max(0, size - n))]
        self.volume = functional.pad(volume, short)
        self.centres = (self.volume[-1] > 0).nonzero().numpy()[::_THIN]
        values = self.volume[0].numpy()[tuple(self.centres.T)]
        levels = np.digitize(values, context.levels[0].cpu().numpy())
        weights = 1 / np.sqrt(np.bincount(levels)[levels])
        self.weights = weights / weights.sum()

    def draw(self, randomness: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, I, J, K) intensities, (N, 1, I, J, K) foreground, (N, 3) first voxels, which are even."""
        last = np.asarray(self.volume.shape[1:]) - self.size
        chosen = self.centres[randomness.choice(len(self.centres), N_CROPS, p=self.weights)]
        moved = chosen - np.asarray(self.size) // 2 + randomness.integers(-JITTER, JITTER + 1, chosen.shape)
        starts = np.clip(moved, 0, last) // 2 * 2
        a, b, c = self.size
        crops = torch.stack([self.volume[:, i : i + a, j : j + b, k : k + c] for i, j, k in starts])
        return crops[:, :-1], crops[:, -1:], torch.from_numpy(starts)
