"""In which order the tissues of a CT cohort are divided: where the scans agree, the largest gain first.

A division that gives a tissue's labels other shares in one scan than in the next cuts at something that is not anatomy:
the field of view, a scanner's scale, a pose. It waits until no division is left that the scans agree on.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medseg.clustering.ward import WardTree

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
AGREEMENT = 0.95
"""Least overlap of the shares of a tissue's labels between two scans, on average."""
LEAST_SHARE = 0.05
"""Of its tissue that each side of a division by Hounsfield units must hold."""
_N_TRIED = 400


@dataclass(frozen=True)
class Part:
    """What a label holds: groups of regions of soft tissue, or an interval of Hounsfield units of another tissue.

    Attributes:
        tissue: from 0.
        groups: of the finest cut of the regions' tree; empty for an interval.
        low, high: HU, in the bins of the histograms.
    """

    tissue: int
    groups: frozenset[int] = frozenset()
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Cohort:
    """What divisions are judged by.

    Attributes:
        tree: over the regions of all scans.
        masses: (S, R) share of each region in the soft tissue of each scan.
        histograms: (S, T, B) even voxels of each tissue by HU.
        values: (B,) upper border of each bin, HU.
    """

    tree: WardTree
    masses: Array
    histograms: Array
    values: Array
    n_groups: int

    @property
    def group_of(self) -> Integers:
        """(R,) finest group of each region."""
        return self.tree.cut(self.n_groups)


@dataclass
class Divisions:
    """Labels as they are divided; `parts[i]` is what label i holds, `parents[i]` what it was divided off."""

    cohort: Cohort
    parts: list[Part]
    parents: list[int]
    _halves: dict[frozenset[int], tuple[frozenset[int], frozenset[int], float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._halves = _halves(self.cohort)
        group_of = self.cohort.group_of
        self._mass = np.stack([np.bincount(group_of, m, self.cohort.n_groups) for m in self.cohort.masses])

    def grow(self, n_labels: int) -> None:
        """Divide until there are `n_labels`, or nothing is left to divide."""
        while len(self.parts) < n_labels:
            by_region = self._by_region()
            agreed = [option for option in by_region if option[0] >= AGREEMENT]
            if agreed:
                _, _, label, kept, new = max(agreed, key=lambda option: option[1])
            elif (found := self._by_hu()) is not None:
                label, kept, new = found
            elif by_region:
                _, _, label, kept, new = max(by_region, key=lambda option: option[0])
            else:
                return
            self.parts[label] = kept
            self.parts.append(new)
            self.parents.append(label)

    def _by_region(self) -> list[tuple[float, float, int, Part, Part]]:
        """(agreement, gain, label, what it keeps, what is divided off) of every division of soft labels."""
        found = []
        soft = [(n, part) for n, part in enumerate(self.parts) if part.groups]
        for label, part in soft:
            if part.groups not in self._halves:
                continue
            a, b, gain = self._halves[part.groups]
            large, small = sorted((a, b), key=lambda groups: -float(self._mass[:, list(groups)].sum()))
            others = [other.groups for n, other in soft if n != label]
            shares = np.stack([self._mass[:, list(g)].sum(axis=1) for g in (*others, large, small)], axis=1)
            found.append((agreement(shares), gain, label, Part(part.tissue, large), Part(part.tissue, small)))
        return found

    def _by_hu(self) -> tuple[int, Part, Part] | None:
        """The division of an interval that scans agree on with the largest share of its tissue's variance."""
        best: tuple[float, int, Part, int] | None = None
        for label, part in enumerate(self.parts):
            if part.groups:
                continue
            histograms = self.cohort.histograms[:, part.tissue]
            others = [
                histograms[:, other.low : other.high].sum(axis=1)
                for n, other in enumerate(self.parts)
                if n != label and not other.groups and other.tissue == part.tissue
            ]
            rest = np.stack(others, axis=1) if others else np.zeros((len(histograms), 0))
            gain, at = best_threshold(
                self.cohort.values[part.low : part.high], histograms[:, part.low : part.high], rest
            )
            total = histograms.sum(axis=0)
            spread = _variance(self.cohort.values, total)
            if at >= 0 and spread > 0 and (best is None or gain / spread > best[0]):
                best = gain / spread, label, part, part.low + at + 1
        if best is None:
            return None
        _, label, part, at = best
        return label, Part(part.tissue, low=part.low, high=at), Part(part.tissue, low=at, high=part.high)


def agreement(shares: Array) -> float:
    """Mean over pairs of scans of what their label shares (S, L) have in common; 1 for a single scan."""
    if len(shares) < 2:
        return 1.0
    scaled = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    return float(np.mean([np.minimum(a, b).sum() for a, b in itertools.combinations(scaled, 2)]))


def best_threshold(values: Array, histograms: Array, others: Array) -> tuple[float, int]:
    """Gain and bin of the division of one interval with the largest variance between its sides, as scans agree.

    Args:
        values: (B,) HU of the bins.
        histograms: (S, B) of each scan.
        others: (S, L) voxels of the tissue's other labels.

    Returns:
        0 and -1 where there is none.
    """
    if len(values) < 2:
        return 0.0, -1
    total = np.maximum(histograms.sum(axis=1) + others.sum(axis=1), 1e-9)
    shares = (histograms / total[:, None]).mean(axis=0)
    mass, moment = np.cumsum(shares), np.cumsum(shares * values)
    left = mass[:-1]
    right = mass[-1] - left
    between = (moment[-1] * left - moment[:-1] * mass[-1]) ** 2 / np.maximum(left * right * mass[-1], 1e-12)
    for at in np.argsort(-between)[:_N_TRIED]:
        if min(left[at], right[at]) < LEAST_SHARE:
            continue
        sides = [histograms[:, : at + 1].sum(axis=1), histograms[:, at + 1 :].sum(axis=1)]
        if agreement(np.column_stack([others, *sides])) >= AGREEMENT:
            return float(between[at]), int(at)
    return 0.0, -1


def _variance(values: Array, weights: Array) -> float:
    if weights.sum() <= 0:
        return 0.0
    mean = np.average(values, weights=weights)
    return float(np.average((values - mean) ** 2, weights=weights))


def _halves(cohort: Cohort) -> dict[frozenset[int], tuple[frozenset[int], frozenset[int], float]]:
    """Of every node of the regions' tree down to the finest groups: its two halves and the gain of dividing it."""
    finest, found = cohort.group_of, {}
    coarser = cohort.tree.cut(1)
    n_regions = len(finest)
    for n_parts in range(2, cohort.n_groups + 1):
        finer = cohort.tree.cut(n_parts)
        for part in range(n_parts - 1):
            inside = np.unique(finer[coarser == part])
            if len(inside) == 2:
                a, b = (frozenset(np.unique(finest[finer == half]).tolist()) for half in inside)
                found[a | b] = a, b, float(cohort.tree.gains[n_regions - n_parts])
        coarser = finer
    return found
