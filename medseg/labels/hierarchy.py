"""A tree over the labels of one fit: cut it anywhere, and every label of a coarser cut is a union of finer ones.

The K fitted labels stay what they are. Above them, labels are joined by Ward's criterion (JASA 58:236, 1963); below
them, each is divided by bisecting k-means (Steinbach, Karypis and Kumar, KDD workshop on text mining, 2000) of the
features that it was told apart by and of the labels in its surroundings, always the leaf with the largest spread
next. A cut is a number of labels; the finest cut holds the leaves, numbered from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.clustering.tree import MOST_LEAVES, LeafTree
from medseg.errors import ConfigError, ModelError
from medseg.labels.description import Description, LeafPosteriors, Sample
from medseg.spatial.chunks import filled_slabs
from medseg.spatial.geometry import Geometry

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.unsignedinteger]
FINEST = MOST_LEAVES
N_SAMPLES = 20_000
"""Voxels of the whole cohort that the tree is fitted on."""
SLAB_VALUES = 40_000_000
_FEWEST = 20
"""Sampled voxels that a part must have to be divided."""


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
    def fit(cls, samples: Sequence[Sample], n_labels: int, *, seed: int) -> Hierarchy:
        """Grow the tree on the sampled voxels of the cohort; intensities are those of the first feature."""
        from sklearn.cluster import KMeans

        rows = np.concatenate([sample.rows for sample in samples])
        labels = np.concatenate([sample.labels for sample in samples])
        shift, scale = _comparable(rows, labels, samples[0].n_own)
        scaled = (rows - shift) * scale
        parts = [np.flatnonzero(labels == label) for label in range(n_labels)]
        owner = list(range(n_labels))
        splits: list[tuple[int, int]] = []  # (part divided, new part)
        while len(parts) < FINEST:
            spreads = [_spread(scaled[part]) if len(part) >= _FEWEST else 0.0 for part in parts]
            largest = int(np.argmax(spreads))
            if spreads[largest] <= 0:
                break
            second = KMeans(2, n_init=3, random_state=seed).fit_predict(scaled[parts[largest]]).astype(bool)
            if second.all() or not second.any():
                break
            splits.append((largest, len(parts)))
            owner.append(owner[largest])
            parts.append(parts[largest][second])
            parts[largest] = parts[largest][~second]
        means = np.array([rows[part, 0].mean() if len(part) else 0.0 for part in parts])
        order = np.lexsort((means, np.asarray(owner)))
        centres = np.array([scaled[p].mean(axis=0) if len(p) else np.full(rows.shape[1], 1e3 + n) for n, p in
                            enumerate(parts)])  # fmt: skip
        shares = np.array([len(part) for part in parts]) / len(rows)
        joins = _joins(splits, np.asarray(owner), order, centres, shares)
        zeros = np.zeros(len(parts))
        return cls(
            np.asarray(owner)[order] + 1, joins, shift, scale, centres[order], shares[order], means[order], zeros
        )

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

    def leaves_on(
        self,
        geometry: Geometry,
        description: Description | LeafPosteriors,
        labels: Labels,
        groups: dict[int, tuple[int, ...]],
    ) -> npt.NDArray[np.uint8]:
        """(I, J, K) leaf of each voxel: the nearest among those of its label; 0 stays 0.

        Args:
            labels: (I, J, K) on the native grid `geometry`, cleaned.
            groups: number in `labels` -> the fitted labels that it is made of.
        """
        leaves = np.zeros(geometry.shape, dtype=np.uint8)
        for place, grid in filled_slabs(geometry, labels, 2 * len(self.shift), SLAB_VALUES):
            features = description.on(grid)
            part, out = labels[place], leaves[place]
            for number, members in groups.items():
                here = part == number
                if here.any():
                    out[here] = self._nearest(features[:, torch.from_numpy(here).to(features.device)], members)
        return leaves

    def _nearest(self, features: Tensor, members: tuple[int, ...]) -> Integers:
        """(N,) leaf for (D, N) features."""
        candidates = np.flatnonzero(np.isin(self.owners, members))
        centres = torch.as_tensor(self.centres[candidates], dtype=torch.float32, device=features.device)
        shift, scale = (torch.as_tensor(x, dtype=torch.float32, device=features.device)[:, None]
                        for x in (self.shift, self.scale))  # fmt: skip
        distance = (centres**2).sum(dim=1, keepdim=True) - 2 * centres @ ((features - shift) * scale)
        return cast(Integers, candidates[distance.argmin(dim=0).cpu().numpy()] + 1)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, for saving."""
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Hierarchy:
        """The inverse of `tensors`.

        Raises:
            ModelError: they are no tree.
        """
        try:
            found = cls(**{name: value.numpy() for name, value in tensors.items()})
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


def _comparable(rows: Array, labels: Integers, n_own: int) -> tuple[Array, Array]:
    """Shift and scale: unit spread within the labels for each own feature, and for the surroundings together."""
    shift = rows.mean(axis=0)
    within = np.zeros(rows.shape[1])
    for label in np.unique(labels):
        part = rows[labels == label]
        within += part.var(axis=0) * len(part) / len(rows)
    own, around = np.maximum(within[:n_own], 1e-12), max(float(within[n_own:].sum()), 1e-12)
    return shift, np.r_[1 / np.sqrt(own * n_own), np.full(len(within) - n_own, 1 / np.sqrt(around))]


def _spread(rows: Array) -> float:
    return float(((rows - rows.mean(axis=0)) ** 2).sum())


def _joins(splits: list[tuple[int, int]], owner: Integers, order: Integers, centres: Array, shares: Array) -> Integers:
    """The joins from the leaves up: divisions undone from the last to the first, then Ward's."""
    leaf = np.empty(len(order), dtype=np.int64)  # part -> smallest leaf of what it holds
    leaf[order] = np.arange(1, len(order) + 1)
    joins = []
    for kept, new in reversed(splits):
        joins.append(sorted((int(leaf[kept]), int(leaf[new]))))
        leaf[kept] = joins[-1][0]
    n_labels = len(order) - len(splits)
    mass = np.bincount(owner, shares, n_labels)
    sums = np.stack([(centres * shares[:, None])[owner == label].sum(axis=0) for label in range(n_labels)])
    middle = sums / np.maximum(mass, 1e-12)[:, None]
    alive = list(range(n_labels))
    while len(alive) > 2:
        a, b = min(((a, b) for n, a in enumerate(alive) for b in alive[n + 1 :]),
                   key=lambda p: _ward(mass[p[0]], mass[p[1]], middle[p[0]], middle[p[1]]))  # fmt: skip
        joins.append(sorted((int(leaf[a]), int(leaf[b]))))
        middle[a] = (mass[a] * middle[a] + mass[b] * middle[b]) / max(mass[a] + mass[b], 1e-12)
        mass[a], leaf[a] = mass[a] + mass[b], joins[-1][0]
        alive.remove(b)
    return np.asarray(joins, dtype=np.int64).reshape(-1, 2)


def _ward(mass: float, other_mass: float, centre: Array, other: Array) -> float:
    """Growth of the squared error when two parts join."""
    total = max(mass + other_mass, 1e-12)
    return float(mass * other_mass / total * ((centre - other) ** 2).sum())
