"""How a channel was brought onto the first one of its scan, as data: the transform, and what proves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor


@dataclass(frozen=True)
class Alignment:
    """How a channel was brought onto the first one, and how well.

    Attributes:
        channel: its number, from 2.
        matrix: (4, 4), RAS+ mm of the channel as its headers say -> RAS+ mm of the first channel.
        shift_mm: mean distance that the foreground moves.
        rotation_deg: angle that it turns by.
        information_before: mutual information of both by their headers, in nats.
        information: after the registration.
        information_apart: the same as far apart as channels that have nothing in common: mean of six places around.
        overlap: share of the first channel's foreground inside the field of view of the channel.
        disagreement_mm: mean distance over the foreground between two runs from different starts.
    """

    channel: int
    matrix: tuple[tuple[float, ...], ...]
    shift_mm: float
    rotation_deg: float
    information_before: float
    information: float
    information_apart: float
    overlap: float
    disagreement_mm: float

    @property
    def told(self) -> str:
        """For people, in a few words."""
        return f"channel {self.channel} moved by {self.shift_mm:.1f} mm and {self.rotation_deg:.1f} degrees"

    def apply(self, image: MetaTensor) -> MetaTensor:
        """The same voxels where they belong."""
        affine = np.asarray(self.matrix) @ np.asarray(image.affine, dtype=np.float64)
        return MetaTensor(image.as_tensor(), affine=torch.from_numpy(affine))
