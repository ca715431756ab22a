"""Random patches inside the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.transforms.croppad.array import RandCropByPosNegLabel
from monai.transforms.utils import map_binary_to_indices
from torch import Tensor

from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store


def seed_of(*numbers: int) -> int:
    """One 32-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class PatchSampler:
    """Random patches with a foreground voxel at their centre, which MONAI's `RandCropByPosNegLabel` chooses.

    Args:
        store: keeps what lies on the CPU.
        device: where the volumes lie as long as there is room, and patches are cut and flipped; the rest is cut on
            the CPU and sent there.
        room_bytes: of `device` for the volumes.
    """

    def __init__(
        self,
        prepared: Sequence[Prepared],
        plan: Plan,
        seed: int,
        *,
        part: int = 0,
        store: Store | None = None,
        device: torch.device | None = None,
        room_bytes: float = 0.0,
    ) -> None:
        store = store or Store()
        self.device = device or torch.device("cpu")
        self.seed = seed
        self.part = [part] if part else []  # the first of several processes draws what a single one draws
        self.batch_size = plan.batch_size
        self.size = size = plan.patch_size
        self.crop = RandCropByPosNegLabel(
            (size, size, size), label=None, pos=1, neg=0, num_samples=1, allow_smaller=False
        )
        self.volumes, self.indices = [], []
        for item in prepared:
            parts = [_padded(image.as_tensor(), size) for image in (item.network_image, item.foreground)]
            volume = torch.cat(parts)
            room_bytes -= volume.nbytes
            self.volumes.append(volume.to(self.device) if room_bytes >= 0 else store.tensor(volume))
            self.indices.append(store.tensor(torch.as_tensor(map_binary_to_indices(parts[1])[0])))

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of `step`: (N, C, I, J, K) patches and their (N, 1, I, J, K) foreground."""
        randomness = np.random.default_rng((self.seed, step, 0, *self.part))
        self.crop.set_random_state(seed=seed_of(self.seed, step, 0, *self.part))
        patches, flips = [], []
        for index in randomness.integers(len(self.volumes), size=self.batch_size):
            volume = self.volumes[index]
            self.crop.randomize(volume[-1:], self.indices[index], self.indices[index])
            patches.append(volume[(slice(None), *self._around(cast(Any, self.crop.centers)[0]))])
            flips.append([axis + 1 for axis in range(3) if randomness.random() < 0.5])
        moved = [torch.flip(*both) for both in zip(self._on_device(patches), flips, strict=True)]
        batch = torch.stack(moved)
        return batch[:, :-1].contiguous(), batch[:, -1:].contiguous()

    def _on_device(self, patches: list[Tensor]) -> list[Tensor]:
        """The patches on the device; those that lie elsewhere are sent together."""
        elsewhere = [number for number, patch in enumerate(patches) if patch.device.type != self.device.type]
        if elsewhere:
            sent = torch.stack([patches[number] for number in elsewhere]).to(self.device, non_blocking=True)
            for number, patch in zip(elsewhere, sent, strict=True):
                patches[number] = patch
        return patches

    def _around(self, centre: Sequence[int]) -> tuple[slice, ...]:
        """Where the patch with this centre lies. MONAI's own cut does the same, and most of its time is metadata."""
        starts = (int(c) - self.size // 2 for c in centre)
        return tuple(slice(start, start + self.size) for start in starts)


def _padded(voxels: Tensor, size: int) -> Tensor:
    """(C, I, J, K) at least `size` voxels along each axis."""
    missing = [max(0, size - n) for n in voxels.shape[1:]]
    padding = [p for m in reversed(missing) for p in (m // 2, m - m // 2)]
    return torch.nn.functional.pad(voxels[None], padding, mode="constant")[0]
