"""Confidence and fractions of the labels of one scan on its native grid, as bytes: 255 stands for 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.evidence import Evidence
from medseg.geometry import Geometry
from medseg.slabs import filled_slabs

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.unsignedinteger]
Groups = dict[int, tuple[int, ...]]
"""Number in the label map -> the fitted labels (1..K) that it is made of."""
ONE = 255
SLAB_VALUES = 40_000_000
"""Probabilities on the native grid exist only in slabs of about this many values (160 MB)."""


def confidence_on(geometry: Geometry, evidence: Evidence, labels: Labels, groups: Groups) -> Bytes:
    """Probability that each voxel's label is the right one, (I, J, K), 0 where there is no label."""
    n_fitted = 1 + max(max(members) for members in groups.values())
    confidence = np.zeros(geometry.shape, dtype=np.uint8)
    for place, grid in filled_slabs(geometry, labels, n_fitted + 2, SLAB_VALUES):
        probabilities = evidence.probabilities(grid).cpu().numpy()
        part, out = labels[place], confidence[place]
        for number, members in groups.items():
            here = part == number
            found = sum(probabilities[member - 1][here] for member in members)
            out[here] = np.rint(np.clip(found, 0, 1) * ONE).astype(np.uint8)
    return confidence


@dataclass(frozen=True)
class Fractions:
    """How much of each label a voxel holds; ``fractions[3]`` is computed when it is asked for.

    Attributes:
        inside: (I, J, K) where there are fractions.
    """

    geometry: Geometry
    evidence: Evidence
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
        return np.asarray(np.rint(self.evidence.up_to(number, grid).cpu().numpy() * ONE), dtype=np.int16)
