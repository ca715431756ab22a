"""The scores of an evaluation, and their table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.io.csv_table import write_csv

_COLUMNS = (
    "scan", "class", "dice", "surface_dice", "hausdorff95_mm", "mutual_information", "rand_index", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class of one scan was found; NaN where the truth of the scan lacks the class."""

    dice: float
    surface_dice: float = math.nan
    hausdorff95_mm: float = math.nan


@dataclass(frozen=True)
class ScanMetrics:
    """Scores of one scan.

    Attributes:
        classes: by value of the truth.
        mutual_information: normalised, of labels and classes; needs no mapping.
        rand_index: adjusted for chance; needs no mapping.
    """

    name: str
    classes: dict[int, ClassMetrics]
    mutual_information: float
    rand_index: float

    @property
    def dice(self) -> float:
        """Mean Dice of the classes that occur."""
        return _mean(metrics.dice for metrics in self.classes.values())


@dataclass(frozen=True)
class Unscored:
    """A case that has no score: its name, a code such as ``no_prediction``, and a sentence."""

    name: str
    code: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Scores of a cohort.

    Attributes:
        n_labels: number of labels that occur inside; always report it beside a score of mapping ``many``.
        label_to_class: the one mapping of the cohort (each scan has its own after ``per_scan``).
        unscored: the cases that no mean counts.
    """

    scans: tuple[ScanMetrics, ...]
    n_labels: int
    label_to_class: dict[int, int]
    unscored: tuple[Unscored, ...] = ()

    @property
    def dice(self) -> float:
        """Mean over scans of their mean Dice."""
        return _mean(scan.dice for scan in self.scans)

    @property
    def worst_dice(self) -> float:
        """Mean Dice of the worst scan."""
        return min((scan.dice for scan in self.scans if not math.isnan(scan.dice)), default=math.nan)

    @property
    def dice_of_classes(self) -> dict[int, float]:
        """Mean over scans of the Dice of each class."""
        return {value: _mean(scan.classes[value].dice for scan in self.scans) for value in self.scans[0].classes}


def write_metrics(result: Evaluation, path: Path) -> None:
    """Write a CSV file with one row for each class of each scan, and one for each case without a score.

    An absent score is an empty cell.
    """
    rows: list[Sequence[object]] = [_COLUMNS]
    for scan in result.scans:
        for value, metrics in scan.classes.items():
            scores = (metrics.dice, metrics.surface_dice, metrics.hausdorff95_mm)
            rest = (scan.mutual_information, scan.rand_index)
            rows.append([scan.name, value, *("" if math.isnan(x) else f"{x:.6g}" for x in scores + rest), ""])
    for case in result.unscored:
        rows.append([case.name, *[""] * (len(_COLUMNS) - 2), f"{case.code}: {case.reason}"])  # noqa: PERF401
    write_csv(rows, path)


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers, NaN when none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
