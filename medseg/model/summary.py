"""A model in a few lines for people: from a model, or from its folder without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medseg.io.arrays import load_arrays
from medseg.io.atomic import recover_folder
from medseg.labels.hierarchy import Hierarchy
from medseg.labels.scheme import LabelScheme
from medseg.labels.table import Label, LabelTable
from medseg.model.marker import HIERARCHY, ToldFacts, damaged, read_beside, read_marker

if TYPE_CHECKING:
    from medseg.model.state import ModelState


class Summary(NamedTuple):
    """What people are told of a model.

    Attributes:
        spacing_mm: of the working grid.
        transforms: names of the user's own, which come first.
    """

    scheme: LabelScheme
    modality: str
    is_in_hu: bool
    spacing_mm: tuple[float, ...]
    n_scans: int
    n_steps: int
    n_networks: int
    transforms: tuple[str, ...]

    @classmethod
    def of(cls, model: ModelState) -> Summary:
        """Of a model in memory."""
        plan = model.plan
        return cls(
            model.scheme, plan.modality, plan.window_hu is not None, tuple(plan.spacing_mm), len(model.fingerprints),
            model.record.n_steps, model.config.training.ensemble, tuple(model.own.names),
        )  # fmt: skip

    @classmethod
    def read(cls, folder: Path) -> Summary:
        """Of a model folder, its networks left alone.

        Raises:
            ModelError: no model there, damaged, or of a newer format.
        """
        recover_folder(folder)
        facts = read_marker(folder, ToldFacts)
        plan, tree = facts.plan, Hierarchy.from_arrays(read_beside(folder, HIERARCHY, facts.tensors, load_arrays))
        scheme = LabelScheme(facts.labels, tree, facts.merged, facts.cut)
        try:
            scheme.check()
        except (LookupError, ValueError):
            raise damaged(folder, "the labels belong to another model.json") from None
        return cls(
            scheme, plan.modality, plan.window_hu is not None, plan.spacing_mm, len(facts.fingerprints),
            facts.training.n_steps, facts.config.training.ensemble, facts.pre_transforms,
        )  # fmt: skip

    def text(self) -> str:
        """What it was fitted to, what was changed since, and a table of its labels."""
        spacing, table = " x ".join(f"{s:g}" for s in self.spacing_mm), self.scheme.table
        lines = [
            f"{len(table)} labels for {self.modality}, found without labels in {self.n_scans} "
            f"scan{'' if self.n_scans == 1 else 's'} ({self.n_steps} steps of training, working grid {spacing} mm)"
        ]
        if self.n_networks > 1:
            lines.append(f"an ensemble of {self.n_networks} networks")
        if self.transforms:
            lines.append(f"own transforms first: {', '.join(self.transforms)}")
        if self.scheme.cut is not None:
            lines.append(f"the hierarchy is cut to {self.scheme.cut} labels")
        if self.scheme.merged:
            merged = (f"{source} into {target}" for source, target in self.scheme.merged.items())
            lines.append(f"merged: {', '.join(merged)}")
        return "\n".join([*lines, *_table(table, "HU" if self.is_in_hu else "of 0 to 1")])


def _table(table: LabelTable, unit: str) -> list[str]:
    """A line of titles, and one for each label."""
    titles = ("label", "name", f"mean intensity ({unit})", "volume in a scan", "found again in halves")
    rows = [titles, *(_row(label) for label in table)]
    if all(label.stability is None for label in table):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if n == 1 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return lines


def _row(label: Label) -> tuple[str, ...]:
    intensity = "" if label.mean_intensity is None else f"{label.mean_intensity:.3g}"
    volume = "" if label.volume_ml is None else f"{label.volume_ml:.1f} ml"
    again = "" if label.stability is None else f"{label.stability:.2f}"
    return str(label.number), label.name, intensity, volume, again
