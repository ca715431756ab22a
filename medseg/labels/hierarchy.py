"""A tree over the labels of one fit: cut it anywhere, and every label of a coarser cut is a union of finer ones.

The K fitted labels stay what they are. Above them, labels are joined by Ward's criterion (JASA 58:236, 1963); below
them, each is divided by bisecting k-means (Steinbach, Karypis and Kumar, KDD workshop on text mining, 2000) of the
features that it was told apart by and of the labels in its surroundings, always the leaf with the largest spread
next. A cut is a number of labels; the finest cut holds the leaves, numbered from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.clustering.tree import MOST_LEAVES, LeafTree
from medseg.errors import ConfigError, ModelError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Groups = dict[int, tuple[int, ...]]
"""Number in the label map -> the fitted labels (1..K) that it is made of."""
FINEST = MOST_LEAVES


@dataclass(frozen=True)
class Hierarchy:
    """The tree.

    Attributes:
        owners: (L,) fitted label (from 1) of each leaf, ascending.
        joins: (L - 2, 2) from the finest cut to two labels: smallest leaf (from 1) of the part that stays and of the
            part that joins it.
        shift, scale: (D,) that make the features comparable: (x - shift) * scale.
        centres: (L, D) of the leaves, scaled.
        shares: (L,) of each leaf in the sampled voxels.
        intensities, volumes_ml: (L,) mean intensity, and median volume in a training scan.
    """

    owners: Integers
    joins: Integers
    shift: Array
    scale: Array
    centres: Array
    shares: Array
    intensities: Array
    volumes_ml: Array

    @classmethod
    def of_leaves(cls, tree: LeafTree, n_labels: int) -> Hierarchy:
        """The tree that clusters came with; a voxel's leaf is the one with the largest posterior (`LeafPosteriors`)."""
        order, n_leaves = tree.order(n_labels), len(tree)
        return cls(
            tree.owners(n_labels), tree.joins(n_labels), np.zeros(n_leaves), np.ones(n_leaves), np.eye(n_leaves),
            tree.shares[order], tree.means[order], np.zeros(n_leaves),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def n_labels(self) -> int:
        """Labels of the fit itself."""
        return int(self.owners.max())

    def described(self, intensities: Sequence[float], volumes_ml: Sequence[float]) -> Hierarchy:
        """The tree with sizes and intensities in the label table's units, from those of the fitted labels.

        Volumes are shared out by the sampled voxels. Intensities within a label spread as in the first feature,
        brought to the table's unit by the regression of the labels' means on each other.
        """
        owner = self.owners - 1
        totals = np.bincount(owner, self.shares, self.n_labels)[owner]
        part = np.divide(self.shares, totals, out=np.zeros_like(totals), where=totals > 0)
        middle = np.bincount(owner, part * self.intensities, self.n_labels)[owner]
        found = np.array([middle[owner == label][0] for label in range(self.n_labels)])
        centred = found - found.mean()
        unit = float(centred @ np.asarray(intensities)) / max(float(centred @ centred), 1e-12)
        level = np.asarray(intensities)[owner] + unit * (self.intensities - middle)
        return replace(self, intensities=level, volumes_ml=part * np.asarray(volumes_ml)[owner])

    def check(self, cut: int) -> None:
        """Refuse a cut that the tree does not have.

        Raises:
            ConfigError: fewer than 2 labels or more than there are leaves.
        """
        if not 2 <= cut <= len(self):
            raise ConfigError(f"a cut of {cut} labels does not exist; this model has cuts of 2 to {len(self)}")

    def parts(self, cut: int) -> list[tuple[int, ...]]:
        """Leaves (from 1) of each label of a cut, ascending by the first."""
        self.check(cut)
        found: dict[int, tuple[int, ...]] = {leaf: (leaf,) for leaf in range(1, len(self) + 1)}
        for stays, goes in self.joins[: len(self) - cut]:
            found[int(stays)] = tuple(sorted(found[int(stays)] + found.pop(int(goes))))
        return [found[first] for first in sorted(found)]

    def numbers(self, cut: int) -> Integers:
        """(L + 1,) leaf -> its label in a cut; 0 -> 0."""
        lookup = np.zeros(len(self) + 1, dtype=np.int64)
        for number, leaves in enumerate(self.parts(cut), start=1):
            lookup[list(leaves)] = number
        return lookup

    def fitted(self, leaves: Sequence[int]) -> tuple[int, ...]:
        """Fitted labels that these leaves belong to."""
        return tuple(sorted({int(self.owners[leaf - 1]) for leaf in leaves}))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, for saving."""
        return {name: np.ascontiguousarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Hierarchy:
        """The inverse of `arrays`.

        Raises:
            ModelError: they are no tree.
        """
        try:
            found = cls(**arrays)
            found._check()
        except (TypeError, LookupError, ValueError, ConfigError):
            raise ModelError("the hierarchy of the model is damaged; copy the model folder again") from None
        return found

    def _check(self) -> None:
        """Refuse what is no tree: leaves without an owner, joins of parts that there are not, arrays of other sizes."""
        n_leaves, n_features = self.centres.shape
        sizes = [self.owners.shape, self.shares.shape, self.intensities.shape, self.volumes_ml.shape]
        if sizes != [(n_leaves,)] * 4 or {self.shift.shape, self.scale.shape} != {(n_features,)}:
            raise ValueError("arrays of other sizes")
        if not np.array_equal(np.unique(self.owners), np.arange(1, self.n_labels + 1)):
            raise ValueError("leaves without an owner")
        self.parts(2)
