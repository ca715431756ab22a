"""A tree over the labels of a cohort: every label but the first was divided off an earlier one, and K is a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
MOST_LEAVES = 32
_LEAST_SHARE = 1e-9
"""Weight of a leaf that no voxel has, so that a label of such leaves is numbered by the means that they would have."""


@dataclass(frozen=True)
class LeafTree:
    """L leaves; with K labels, leaf i < K is a label and every later one is part of what it was divided off.

    Attributes:
        parents: (L,) the leaf that each was divided off, an earlier one; the first entry means nothing.
        means: (L,) mean intensity of each leaf, 0 to 1 of the plan's range.
        shares: (L,) of each leaf in the cohort, scans counting equally.
    """

    parents: Integers
    means: Array
    shares: Array

    def __len__(self) -> int:
        return len(self.parents)

    def cut(self, n_labels: int) -> Integers:
        """(L,) label of each leaf, from 0, in the order of division."""
        found = np.arange(len(self))
        for leaf in range(n_labels, len(self)):
            found[leaf] = found[self.parents[leaf]]
        return found

    def label_means(self, n_labels: int) -> Array:
        """(n_labels,) mean intensity of each label of a cut."""
        owner, weights = self.cut(n_labels), np.maximum(self.shares, _LEAST_SHARE)
        mass = np.bincount(owner, weights, n_labels)
        return np.asarray(np.bincount(owner, weights * self.means, n_labels) / np.maximum(mass, 1e-12))

    def order(self, n_labels: int) -> Integers:
        """(L,) leaves in the order in which they are numbered: by their label's mean intensity, then by their own."""
        of_label = self.label_means(n_labels)
        owner = self.cut(n_labels)
        return np.lexsort((np.arange(len(self)), self.means, owner, of_label[owner]))

    def owners(self, n_labels: int) -> Integers:
        """(L,) label from 1 of the leaves in their order; ascending."""
        of_label = self.label_means(n_labels)
        rank = np.empty(n_labels, dtype=np.int64)
        rank[np.lexsort((np.arange(n_labels), of_label))] = np.arange(1, n_labels + 1)
        return rank[self.cut(n_labels)[self.order(n_labels)]]

    def joins(self, n_labels: int) -> Integers:
        """(L - 2, 2) from the finest cut to two labels: smallest number of the part that stays, and that goes."""
        number = np.empty(len(self), dtype=np.int64)
        number[self.order(n_labels)] = np.arange(1, len(self) + 1)
        smallest = number.copy()
        found = []
        for leaf in range(len(self) - 1, 1, -1):
            parent = int(self.parents[leaf])
            found.append(sorted((int(smallest[parent]), int(smallest[leaf]))))
            smallest[parent] = found[-1][0]
        return np.asarray(found, dtype=np.int64).reshape(-1, 2)

    def with_means(self, means: Array, shares: Array, expected: Array) -> LeafTree:
        """The same tree with other intensities and shares; a leaf without voxels takes the expected mean."""
        return replace(self, means=np.where(shares > 0, means, expected), shares=shares)


def parents_of_merges(merges: Sequence[tuple[int, int]], shares: Array) -> tuple[Integers, Integers]:
    """From an agglomeration to a tree of divisions.

    Args:
        merges: (a, b) nodes in the order of joining; leaves are 0..L-1, the i-th join is node L + i.
        shares: (L,) of the leaves: the larger part of a division keeps its place.

    Returns:
        (L,) the leaf at each place of the tree, and (L,) the parent of each place.
    """
    n_leaves = len(shares)
    mass = np.r_[shares, np.zeros(len(merges))]
    for number, (a, b) in enumerate(merges):
        mass[n_leaves + number] = mass[a] + mass[b]
    place = {n_leaves + len(merges) - 1: 0}
    parents = [0]
    for number in range(len(merges) - 1, -1, -1):
        large, small = sorted(merges[number], key=lambda node: (-mass[node], node))
        here = place.pop(n_leaves + number)
        place[large], place[small] = here, len(parents)
        parents.append(here)
    leaf_at = np.empty(n_leaves, dtype=np.int64)
    for leaf, at in place.items():
        leaf_at[at] = leaf
    return leaf_at, np.asarray(parents, dtype=np.int64)
