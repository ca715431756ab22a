"""Rows of `benchmarks.general`: one score of one fit beside its baseline and its goal, and its summary over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.general_scores import agreement
from medseg.io.label_volumes import read_labels


@dataclass(frozen=True)
class Goal:
    """The value to reach, or to stay below when `at_most`."""

    value: float
    at_most: bool = False

    def verdict(self, found: float) -> str:
        """``ok``, or by how much the goal is missed."""
        gap = round(found - self.value if self.at_most else self.value - found, 4)
        return "ok" if gap <= 0 else f"missed by {gap:.4f}"


@dataclass(frozen=True)
class Row:
    """One score of one fit.

    Attributes:
        set: the scans; `what` is scored on them; `k` labels.
        baseline: by method, scored like `ours`; empty where it could not be run.
        labels: the label volumes of the fit, for the agreement between seeds; empty for maps.
        detail: the parts of the score in a few words.
    """

    set: str
    what: str
    k: int
    ours: float
    baseline: Mapping[str, float]
    goal: Goal
    seconds_fit: float
    seconds_scan: float
    variant: str = "medseg"
    seed: int = 0
    labels: tuple[Path, ...] = ()
    detail: str = ""


class Stability(NamedTuple):
    """Agreement of the label maps of every two seeds."""

    least_ari: float
    n_kept: int
    n_pairs: int


@dataclass(frozen=True)
class Summary:
    """One score over all seeds; the goal and the baseline are compared with the mean."""

    rows: tuple[Row, ...] = field(repr=False)

    @property
    def first(self) -> Row:
        """The row of the first seed."""
        return self.rows[0]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean([row.ours for row in self.rows]))

    @property
    def worst(self) -> float:
        """The seed that is furthest from the goal."""
        values = [row.ours for row in self.rows]
        return max(values) if self.first.goal.at_most else min(values)

    @property
    def to_beat(self) -> tuple[str, float] | None:
        """The better baseline and its score."""
        pick = min if self.first.goal.at_most else max
        found = self.first.baseline
        return pick(found.items(), key=lambda item: item[1]) if found else None

    @property
    def is_below_baseline(self) -> bool:
        """Whether the baseline is better; never for `at_most`: the baseline labels every voxel it is given."""
        if self.to_beat is None or self.first.goal.at_most:
            return False
        return round(self.mean, 4) < round(self.to_beat[1], 4)

    @property
    def verdict(self) -> str:
        """``ok`` or by how much the goal is missed, and whether the baseline is better."""
        marks = [self.first.goal.verdict(self.mean)]
        return ", ".join([*marks, "BELOW BASELINE"] if self.is_below_baseline else marks)

    @cached_property
    def stability(self) -> Stability | None:
        """Agreement between seeds; None for one seed, and for maps."""
        if len(self.rows) < 2 or not self.first.labels:
            return None
        found = []
        for paths in zip(*(row.labels for row in self.rows), strict=True):
            volumes = [read_labels(path)[0] for path in paths]
            found += [agreement(one, two) for one, two in combinations(volumes, 2)]
        return Stability(min(ari for ari, _ in found), sum(kept for _, kept in found), len(found))


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """Rows that differ in nothing but the seed, together, in the order of the first ones."""
    groups: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.set, row.what, row.k, row.variant), []).append(row)
    return [Summary(tuple(group)) for group in groups.values()]


def below_baseline(found: Sequence[Summary]) -> list[Summary]:
    """The rows that lose to their baseline."""
    return [summary for summary in found if summary.is_below_baseline]
