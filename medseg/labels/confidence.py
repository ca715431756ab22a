"""Confidence and fractions of the labels of one scan on its native grid, as bytes: 255 stands for 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.clustering.posteriors import Posteriors
from medseg.labels.hierarchy import Groups
from medseg.spatial.chunks import filled_slabs
from medseg.spatial.geometry import Geometry

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.unsignedinteger]
ONE = 255
SLAB_VALUES = 40_000_000
"""Probabilities on the native grid exist only in slabs of about this many values (160 MB)."""
COARSE_VOXELS = 5_000_000
"""Voxels of a confidence to look at: two hundredths of the time that labels take. Fewer make specks of thin borders."""


def confidence_on(geometry: Geometry, posteriors: Posteriors, labels: Labels, groups: Groups) -> Bytes:
    """Probability that each voxel's label is the right one, (I, J, K), 0 where there is no label."""
    n_fitted = 1 + max(max(members) for members in groups.values())
    confidence = np.zeros(geometry.shape, dtype=np.uint8)
    for place, grid in filled_slabs(geometry, labels, n_fitted + 2, SLAB_VALUES):
        probabilities = posteriors.probabilities(grid)
        part = torch.from_numpy(labels[place].astype(np.int32)).to(probabilities.device)
        sure = torch.zeros_like(probabilities[0])
        for number, members in groups.items():
            share = reduce(torch.add, (probabilities[member - 1] for member in members))
            sure = share.where(part == number, sure)
        confidence[place] = (sure.clamp_(0, 1) * ONE).round_().to(torch.uint8).cpu().numpy()
    return confidence


def coarse_confidence(geometry: Geometry, posteriors: Posteriors, labels: Labels, groups: Groups) -> MetaTensor | None:
    """The same on a grid of at most about `COARSE_VOXELS` around the labels: for pictures.

    Returns:
        (1, I, J, K) of 1..255 where there is a label, 0 elsewhere; None without any label.
    """
    filled = [np.flatnonzero(labels.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not filled[0].size:
        return None
    first = np.array([axis[0] for axis in filled])
    shape = np.array([axis[-1] for axis in filled]) + 1 - first
    spacing = np.asarray(geometry.spacing_mm)
    step = np.maximum(1.0, (float((spacing * shape).prod()) / COARSE_VOXELS) ** (1 / 3) / spacing)
    found = np.floor((shape - 1) / step + 1e-6).astype(int) + 1
    every = [np.rint(a + np.arange(n) * s).astype(int) for a, n, s in zip(first, found, step, strict=True)]
    around = geometry.crop([int(n) for n in first], [int(n) for n in shape])
    grid = Geometry((int(found[0]), int(found[1]), int(found[2])), around.affine @ np.diag([*step, 1.0]))
    chosen = labels[np.ix_(*every)]
    sure = np.where(chosen > 0, np.maximum(confidence_on(grid, posteriors, chosen, groups), 1), 0).astype(np.uint8)
    return MetaTensor(torch.from_numpy(sure[None]), affine=torch.from_numpy(grid.affine.copy()))


@dataclass(frozen=True)
class Fractions:
    """How much of each label a voxel holds; ``fractions[3]`` is computed when it is asked for.

    Attributes:
        inside: (I, J, K) where there are fractions.
    """

    geometry: Geometry
    posteriors: Posteriors
    inside: npt.NDArray[np.bool_]
    groups: Groups

    def __iter__(self) -> Iterator[int]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> Bytes:
        """(I, J, K) of label `number`; over all labels the bytes of a voxel inside sum to exactly 255.

        Fraction k is rounded as the difference of two rounded sums, so that no rounding error is left over.
        """
        fraction = np.zeros(self.geometry.shape, dtype=np.uint8)
        for place, grid in filled_slabs(self.geometry, self.inside, 4, SLAB_VALUES):
            total = np.zeros(grid.shape, dtype=np.int16)
            for member in self.groups[number]:
                total += self._summed(member, grid) - self._summed(member - 1, grid)
            fraction[place] = np.where(self.inside[place], np.clip(total, 0, ONE), 0)
        return fraction

    def _summed(self, number: int, grid: Geometry) -> npt.NDArray[np.int16]:
        """Bytes of the fitted labels 1..number together."""
        if number == 0:
            return np.zeros(grid.shape, dtype=np.int16)
        return np.asarray(np.rint(self.posteriors.up_to(number, grid).cpu().numpy() * ONE), dtype=np.int16)
