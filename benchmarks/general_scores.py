"""Scores of label maps and maps beyond brains, by the definitions of `structures.py` and of the trunk CT prototype.

One meaning of a label holds for all scans that are scored together. `structures.py` lies beside the data
(`../shared/tools`); `tests/test_benchmarks_general.py` checks that both give the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from skimage.morphology import convex_hull_image
from sklearn.metrics import average_precision_score

from benchmarks.sets import Case
from medseg.evaluation.evaluate import Pair, evaluate
from medseg.evaluation.overlap import adjusted_rand_index, confusion

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class Found(NamedTuple):
    """A score and its details in a few words."""

    value: float
    detail: str = ""


Score = Callable[[Sequence[Case], Sequence[Ints]], Mapping[str, Found]]
"""From scans and their label maps to the scores of one fold, by the name of the score."""


class Consistency(NamedTuple):
    """Agreement of one structure's labels between scans.

    Attributes:
        overlap: mean over pairs of scans of the overlap of its label distributions, 1: the same.
        labels: the commonest label in each scan.
        unlabelled: share of the structure without a label in each scan.
    """

    overlap: float
    labels: tuple[int, ...]
    unlabelled: tuple[float, ...]


def best_single(
    labels: Sequence[Ints], truths: Sequence[Ints], structure: Sequence[int], *, everywhere: bool
) -> tuple[float, int]:
    """Mean Dice over scans of the one label that follows the structure best, and that label.

    Args:
        structure: values of the truths that are the structure; scans without it do not count.
        everywhere: the background counts as well, else only voxels with truth > 0.
    """
    overlaps, sizes, totals = _counts(labels, truths, structure, everywhere=everywhere)
    dice = 2 * overlaps / np.maximum(sizes + totals[:, None], 1)
    dice[:, 0] = 0
    mean = dice[totals > 0].mean(axis=0)
    return float(mean.max()), int(mean.argmax())


def mostly_it(
    labels: Sequence[Ints], truths: Sequence[Ints], structure: Sequence[int], *, everywhere: bool
) -> tuple[float, tuple[int, ...]]:
    """Mean Dice over scans of all labels that are mostly the structure, together, and these labels."""
    overlaps, sizes, totals = _counts(labels, truths, structure, everywhere=everywhere)
    chosen = overlaps.sum(axis=0) > 0.5 * sizes.sum(axis=0)
    chosen[0] = False
    dice = 2 * overlaps[:, chosen].sum(axis=1) / np.maximum(sizes[:, chosen].sum(axis=1) + totals, 1)
    return float(dice[totals > 0].mean()), tuple(np.flatnonzero(chosen).tolist())


def _counts(
    labels: Sequence[Ints], truths: Sequence[Ints], structure: Sequence[int], *, everywhere: bool
) -> tuple[Floats, Floats, Floats]:
    """(scans, labels) voxels of each label in the structure and in all that counts, (scans,) in the structure."""
    n = 1 + max(int(found.max()) for found in labels)
    overlaps, sizes, totals = [], [], []
    for found, truth in zip(labels, truths, strict=True):
        is_it = np.isin(truth, structure)
        counted = np.ones(truth.shape, dtype=bool) if everywhere else truth > 0
        overlaps.append(np.bincount(found[is_it], minlength=n))
        sizes.append(np.bincount(found[counted], minlength=n))
        totals.append(np.count_nonzero(is_it))
    return np.array(overlaps, dtype=float), np.array(sizes, dtype=float), np.array(totals, dtype=float)


def consistency(labels: Sequence[Ints], truths: Sequence[Ints]) -> dict[int, Consistency]:
    """Whether each structure of the truths gets the same labels in every scan; NaN where only one scan has it."""
    n = 1 + max(int(found.max()) for found in labels)
    values = sorted({int(value) for truth in truths for value in np.unique(truth) if value > 0})
    result = {}
    for value in values:
        places = [truth == value for truth in truths]
        counts = [np.bincount(found[at], minlength=n) for found, at in zip(labels, places, strict=True) if at.any()]
        shares = [count / count.sum() for count in counts]
        overlaps = [float(np.minimum(one, two).sum()) for one, two in combinations(shares, 2)]
        result[value] = Consistency(
            float(np.mean(overlaps)) if overlaps else float("nan"),
            tuple(int(share.argmax()) for share in shares),
            tuple(float(share[0]) for share in shares),
        )
    return result


def within_body(truth: Ints, lung: int = 1) -> Ints:
    """The truth without lung beyond the convex outline of all other tissue in its slice: couch, foam and clothes.

    They have the intensity of lung, and a truth by intensity counts them in.
    """
    found = truth.copy()
    for number in range(truth.shape[2]):
        part = found[:, :, number]
        body = part > 0 if not (part > lung).any() else convex_hull_image(part > lung)
        part[(part == lung) & ~body] = 0
    return found


def class_dice(labels: Sequence[Ints], truths: Sequence[Ints], how: Literal["one", "many"]) -> dict[int, float]:
    """Mean Dice over scans of each class of the truths, by `medseg.evaluation.evaluate`, inside truth > 0."""
    pairs = [
        Pair(str(n), found, truth, truth > 0, (1.0, 1.0, 1.0))
        for n, (found, truth) in enumerate(zip(labels, truths, strict=True))
    ]
    scans = evaluate(pairs, how=how, tolerance_mm=None).scans
    return {value: float(np.nanmean([scan.classes[value].dice for scan in scans])) for value in scans[0].classes}


def organ_dice(labels: Ints, truth: Ints, organs: Sequence[int]) -> tuple[Floats, Floats]:
    """Dice of each organ inside truth > 0: many labels to an organ, and one label to an organ.

    Many: all labels of which more than half is the organ. One: each organ gets another label, assigned so that the sum
    of Dice is largest (Hungarian method). Voxels without a label never count as an organ.
    """
    table = confusion(labels, truth, truth > 0, int(labels.max()) + 1, int(truth.max()) + 1)[:, list(organs)]
    sizes = np.bincount(labels[truth > 0], minlength=len(table))
    totals = table.sum(axis=0)
    chosen = table > 0.5 * sizes[:, None]
    chosen[0] = False
    joined = (sizes[:, None] * chosen).sum(axis=0)
    many = 2 * (table * chosen).sum(axis=0) / np.maximum(joined + totals, 1)
    dice = 2 * table / np.maximum(sizes[:, None] + totals, 1)
    dice[0] = 0
    one = np.zeros(len(organs))
    rows, columns = linear_sum_assignment(-dice)
    one[columns] = dice[rows, columns]
    return many, one


def average_precision(scores: Floats, truth: Bools, inside: Bools) -> float:
    """Area under the precision-recall curve of a map inside a mask."""
    return float(average_precision_score(truth[inside], scores[inside]))


def agreement(first: Ints, second: Ints) -> tuple[float, bool]:
    """Adjusted Rand index of two label maps of one scan, inside either, and whether label k stays label k."""
    size = int(max(first.max(), second.max())) + 1
    table = confusion(first, second, (first > 0) | (second > 0), size, size)
    found = table[1:, 1:]
    kept = (found.argmax(axis=0) == np.arange(size - 1))[found.sum(axis=0) > 0]
    return adjusted_rand_index(table), bool(kept.all())
