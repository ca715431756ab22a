"""What the labels of a model are: their table, the tree that they come from, its cut, and merges; one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from medseg.errors import ConfigError
from medseg.labels.hierarchy import Groups, Hierarchy
from medseg.labels.table import Label, LabelTable, default_color
from medseg.spatial.chunks import Labels, look_up


@dataclass(frozen=True)
class LabelScheme:
    """From the labels that were fitted to the labels that people see.

    Attributes:
        table: numbers, names, colours and codes of the labels that people see.
        hierarchy: the tree over the fitted labels.
        merged: label number -> the label that it became part of.
        cut: number of labels that the tree is cut to; None for the fitted labels as they are.
    """

    table: LabelTable
    hierarchy: Hierarchy
    merged: Mapping[int, int] = field(default_factory=dict)
    cut: int | None = None

    @property
    def n_fitted(self) -> int:
        """Number of fitted labels, those that clusters have scores for."""
        return self.hierarchy.n_labels

    def check(self) -> None:
        """Refuse what cannot be: no such cut, merges in a circle or of labels that there are not, another table.

        Raises:
            ValueError: one of these.
        """
        n_labels = self.cut or self.n_fitted
        if not 1 <= n_labels <= len(self.hierarchy):
            raise ValueError("a cut that the tree does not have")
        left = set(range(1, n_labels + 1)) - set(self.merged)
        if len(left) + len(self.merged) != n_labels or not set(self.merged.values()) <= left:
            raise ValueError("merges of labels that there are not, or in a circle")
        if {label.number for label in self.table} != left:
            raise ValueError("a table of other labels")

    def with_stability(self, values: Sequence[float | None]) -> LabelScheme:
        """The same with a stability of each label of the table, in its order."""
        table = self.table
        for label, value in zip(self.table, values, strict=True):
            table = table.replace(label.number, stability=value)
        return replace(self, table=table)

    @property
    def is_divided(self) -> bool:
        """Whether there are labels finer than the fitted ones."""
        return self.cut is not None and self.cut > self.n_fitted

    def merge(self, labels: Labels) -> Labels:
        """(I, J, K) label map with merged labels replaced by what they became part of."""
        if not self.merged:
            return labels
        lookup = np.arange(max(int(labels.max()), *self.merged) + 1)
        for source, target in self.merged.items():
            lookup[source] = target
        return look_up(lookup, labels)

    def apply(self, labels: Labels, leaves: Labels | None) -> Labels:
        """(I, J, K) labels of the cut, from the fitted labels or, where these are divided, from the leaves."""
        if self.cut is None:
            return labels
        numbers = self.hierarchy.numbers(self.cut)
        if leaves is not None:
            return self.merge(look_up(numbers, leaves))
        first = np.searchsorted(self.hierarchy.owners, np.arange(1, self.n_fitted + 1)) + 1
        return self.merge(look_up(np.r_[0, numbers[first]], labels))

    @cached_property
    def fitted_groups(self) -> Groups:
        """Which fitted labels each label is made of before the cut."""
        fitted = range(1, self.n_fitted + 1)
        if self.cut is not None:
            return {n: (n,) for n in fitted}
        return {x.number: tuple(n for n in fitted if self.merged.get(n, n) == x.number) for x in self.table}

    @cached_property
    def groups(self) -> Groups:
        """Which fitted labels each label of the table is made of, or, when it is finer, is a part of."""
        if self.cut is None:
            return self.fitted_groups
        found: dict[int, set[int]] = {}
        for number, leaves in enumerate(self.hierarchy.parts(self.cut), start=1):
            found.setdefault(self.merged.get(number, number), set()).update(self.hierarchy.fitted(leaves))
        return {number: tuple(sorted(members)) for number, members in sorted(found.items())}

    @cached_property
    def leaves(self) -> dict[int, tuple[int, ...]]:
        """Leaves of the tree, by label of the table."""
        parts = self.hierarchy.parts(self.cut or self.n_fitted)
        found: dict[int, tuple[int, ...]] = {}
        for number, leaves in enumerate(parts, start=1):
            target = self.merged.get(number, number)
            found[target] = tuple(sorted(found.get(target, ()) + leaves))
        return found

    def relabelled(self, table: LabelTable, merges: Mapping[int, int]) -> LabelScheme:
        """The same labels under another table; `merges` (from -> into) are added to those made before.

        Raises:
            ConfigError: a merge that names a label which is not there.
        """
        for source, target in merges.items():
            if source == target:
                raise ConfigError(f"label {source} cannot be merged into itself")
            table[source], table[target]
        for target in set(merges.values()):
            table = table.replace(target, stability=None, verdict="")
        merged = {source: merges.get(target, target) for source, target in {**self.merged, **merges}.items()}
        return replace(self, table=table.without(list(merges)), merged=merged)

    def cut_to(self, n_labels: int) -> LabelScheme:
        """The same tree with another number of labels; merges are undone, names stay with labels that stay the same.

        Raises:
            ConfigError: the tree has no such cut.
        """
        labels = tuple(
            self._label_of(number, leaves) for number, leaves in enumerate(self.hierarchy.parts(n_labels), start=1)
        )
        return LabelScheme(LabelTable(labels=labels), self.hierarchy, {}, n_labels)

    def _label_of(self, number: int, leaves: tuple[int, ...]) -> Label:
        """The label of a part of the tree; one that there is already keeps its name, colour and code."""
        fresh = Label(number=number, name=f"label {number}", color=default_color(number))
        same = next((self.table[n] for n, others in self.leaves.items() if others == leaves), fresh)
        if not same.is_named:
            same = fresh.model_copy(update={"stability": same.stability, "verdict": same.verdict})
        volume = float(self.hierarchy.volumes_ml[np.asarray(leaves) - 1].sum())
        size = {"mean_intensity": round(self._mean_intensity(leaves), 4), "volume_ml": round(volume, 3)}
        return same.model_copy(update={"number": number, **size})

    def _mean_intensity(self, leaves: tuple[int, ...]) -> float:
        at = np.asarray(leaves) - 1
        weights = np.maximum(self.hierarchy.volumes_ml[at], 1e-12)
        return float((self.hierarchy.intensities[at] * weights).sum() / weights.sum())

    def tree_text(self) -> str:
        """The tree for people: one line a part with the cut that makes it, its size and its mean intensity."""
        tree = self.hierarchy
        total = max(float(tree.volumes_ml.sum()), 1e-12)
        cuts = {cut: tree.parts(cut) for cut in range(2, len(tree) + 1)}
        current = {leaves: number for number, leaves in self.leaves.items()}
        lines = [f"tree of {len(tree)} leaves; cut it to 2 to {len(tree)} labels (now {len(self.table)}), "
                 "for example: medseg label MODEL --cut 6"]  # fmt: skip

        def add(leaves: tuple[int, ...], made_by: int, depth: int) -> None:
            volume = float(tree.volumes_ml[np.asarray(leaves) - 1].sum())
            name = f"  = {self.table[current[leaves]].name}" if leaves in current else ""
            lines.append(f"{'  ' * depth}from cut {made_by:2d}: {100 * volume / total:5.1f} %  {volume:8.1f} ml  "
                         f"mean intensity {self._mean_intensity(leaves):.3g}{name}")  # fmt: skip
            for cut in range(made_by + 1, len(tree) + 1):
                inner = [part for part in cuts[cut] if set(part) <= set(leaves)]
                if len(inner) > 1:
                    for part in inner:
                        add(part, cut, depth + 1)
                    return

        for leaves in cuts[2]:
            add(leaves, 2, 0)
        return "\n".join(lines)
