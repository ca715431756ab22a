"""The features of a large window in little memory: the same numbers as `Autoencoder.features` finds at once.

All levels but the first work on eight lattices that know nothing of each other: those of a large window are computed
one after the other, in the place of what they came from. What a voxel's neighbours say is wide and quickly found: it
is computed twice, slab by slab, and never exists for the whole window. Less memory is also less time: the system
clears it before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from medseg.network.autoencoder import Autoencoder, by_voxel, enlarged, every_second, from_every_second, halved, leaky

SLAB_VOXELS = 1 << 19
"""Most voxels that are worked on at once: of a slab, two planes at least, and of lattices, one at least."""


class Window:
    """The lattices of a window, (8, channels, I/2, J/2, K/2), on their way through the network.

    Args:
        x: (1, C + 1, I, J, K) standardised intensities and foreground.
    """

    def __init__(self, network: Autoencoder, x: Tensor) -> None:
        self._network = network
        self._padded = functional.pad(x, (1, 1))
        halves = [n // 2 for n in x.shape[2:]]
        empty = torch.empty((8, *halves, network.enter.out_channels), dtype=x.dtype, device=x.device)
        self.lattices = empty.permute(0, 4, 1, 2, 3)
        for slab in self.slabs():
            self._of(slab).copy_(every_second(network.enter(self._neighbours(slab))))
        for part in self._parts(self.lattices):
            part.add_(network.fine(leaky(part)))

    def pooled(self) -> Tensor:
        """What the coarse levels see, (8, channels, I/4, J/4, K/4); before `join`."""
        return torch.cat([halved(part) for part in self._parts(self.lattices)])

    def join(self, far: Tensor | None = None) -> None:
        """Add what the coarse levels make of the window, or of the whole volume around it, once."""
        far = self._network.far(self.pooled()) if far is None else far
        for part, coarse in zip(self._parts(self.lattices), self._parts(far), strict=True):
            part.add_(enlarged(coarse))
            part.add_(self._network.fine_up(leaky(part)))

    def slabs(self) -> Iterator[slice]:
        """Parts of the last axis, each of whole pairs of planes."""
        *sides, n_planes = (2 * n for n in self.lattices.shape[2:])
        planes = max(2, SLAB_VOXELS // math.prod(sides) // 2 * 2)
        for start in range(0, n_planes, planes):
            yield slice(start, min(start + planes, n_planes))

    def features(self, slab: slice) -> tuple[Tensor, Tensor]:
        """What the logits of a slab are made of, as `Autoencoder.features`; after `join`."""
        return by_voxel(from_every_second(self._of(slab))), by_voxel(self._neighbours(slab))

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """As many lattices at once as a slab has voxels: PyTorch is slow with the convolutions of a small one."""
        return torch.split(x, max(1, SLAB_VOXELS // self.lattices[0, 0].numel()))

    def _of(self, slab: slice) -> Tensor:
        return self.lattices[..., slab.start // 2 : slab.stop // 2]

    def _neighbours(self, slab: slice) -> Tensor:
        return self._network.neighbours(self._padded[..., slab.start : slab.stop + 2], padding=(1, 1, 0))
