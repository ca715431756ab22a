"""What a cut of the hierarchy makes of a model: its labels, its label table, and the tree in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medseg.certainty import Groups
from medseg.hierarchy import Hierarchy
from medseg.label_table import Label, LabelTable, default_color
from medseg.slabs import Labels, look_up

if TYPE_CHECKING:
    from medseg.model import Model


def labels_of(model: Model, labels: Labels, leaves: Labels | None) -> Labels:
    """The labels of the model's cut, from the fitted labels or, where these are divided, from the leaves."""
    if model.cut is None or model.hierarchy is None:
        return labels
    numbers = model.hierarchy.numbers(model.cut)
    if leaves is not None:
        return model.apply_merges(look_up(numbers, leaves))
    first = np.searchsorted(model.hierarchy.owners, np.arange(1, model.hierarchy.n_labels + 1)) + 1
    return model.apply_merges(look_up(np.r_[0, numbers[first]], labels))


def fitted_groups(model: Model) -> Groups:
    """Which fitted labels each label is made of before the cut."""
    fitted = range(1, model.config.clustering.n_clusters + 1)
    if model.cut is not None:
        return {n: (n,) for n in fitted}
    return {x.number: tuple(n for n in fitted if model.merged.get(n, n) == x.number) for x in model.table}


def groups_of(model: Model) -> Groups:
    """Which fitted labels each label of the table is made of, or, when it is finer, is a part of."""
    if model.cut is None or model.hierarchy is None:
        return fitted_groups(model)
    found: dict[int, set[int]] = {}
    for number, leaves in enumerate(model.hierarchy.parts(model.cut), start=1):
        found.setdefault(model.merged.get(number, number), set()).update(model.hierarchy.fitted(leaves))
    return {number: tuple(sorted(members)) for number, members in sorted(found.items())}


def table_of_cut(model: Model, cut: int) -> LabelTable:
    """Labels 1..cut with their sizes and mean intensities; a label that stays the same keeps its name and code.

    Raises:
        ConfigError: the tree has no such cut.
    """
    tree = _tree(model)
    known = leaves_of_labels(model)
    labels = []
    for number, leaves in enumerate(tree.parts(cut), start=1):
        fresh = Label(number=number, name=f"label {number}", color=default_color(number))
        same = next((model.table[n] for n, others in known.items() if others == leaves), fresh)
        if same.name == f"label {same.number}":
            same = fresh
        at = np.asarray(leaves) - 1
        labels.append(
            same.model_copy(
                update={
                    "number": number,
                    "mean_intensity": round(_mean_intensity(tree, at), 4),
                    "volume_ml": round(float(tree.volumes_ml[at].sum()), 3),
                }
            )
        )
    return LabelTable(labels=tuple(labels))


def leaves_of_labels(model: Model) -> dict[int, tuple[int, ...]]:
    """Leaves of the tree, by label of the table."""
    tree = _tree(model)
    parts = tree.parts(model.cut or tree.n_labels)
    found: dict[int, tuple[int, ...]] = {}
    for number, leaves in enumerate(parts, start=1):
        target = model.merged.get(number, number)
        found[target] = tuple(sorted(found.get(target, ()) + leaves))
    return found


def describe_tree(model: Model) -> str:
    """The tree for people: one line a part with the cut that makes it, its size and its mean intensity."""
    tree = _tree(model)
    total = max(float(tree.volumes_ml.sum()), 1e-12)
    cuts = {cut: tree.parts(cut) for cut in range(2, len(tree) + 1)}
    current = {leaves: number for number, leaves in leaves_of_labels(model).items()}
    lines = [f"tree of {len(tree)} leaves; cut it to 2 to {len(tree)} labels (now {len(model.table)}), "
             "for example: medseg label MODEL --cut 6"]  # fmt: skip

    def add(leaves: tuple[int, ...], made_by: int, depth: int) -> None:
        at = np.asarray(leaves) - 1
        volume = float(tree.volumes_ml[at].sum())
        name = f"  = {model.table[current[leaves]].name}" if leaves in current else ""
        lines.append(f"{'  ' * depth}from cut {made_by:2d}: {100 * volume / total:5.1f} %  {volume:8.1f} ml  "
                     f"mean intensity {_mean_intensity(tree, at):.3g}{name}")  # fmt: skip
        for cut in range(made_by + 1, len(tree) + 1):
            inner = [part for part in cuts[cut] if set(part) <= set(leaves)]
            if len(inner) > 1:
                for part in inner:
                    add(part, cut, depth + 1)
                return

    for leaves in cuts[2]:
        add(leaves, 2, 0)
    return "\n".join(lines)


def _mean_intensity(tree: Hierarchy, at: np.ndarray) -> float:
    weights = np.maximum(tree.volumes_ml[at], 1e-12)
    return float((tree.intensities[at] * weights).sum() / weights.sum())


def _tree(model: Model) -> Hierarchy:
    model.check(finest=True)
    if model.hierarchy is None:
        raise ValueError("checked before")
    return model.hierarchy
