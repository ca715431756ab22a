"""Agreement of two label maps counted in voxels: confusion tables and what follows from them.

A table has a row for each label of the prediction and a column for each class of the truth.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Mapping = Literal["one", "many"]


def confusion(
    prediction: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    inside: npt.NDArray[np.bool_],
    n_labels: int,
    n_classes: int,
) -> IntArray:
    """Count the voxels `inside` of each (label, class): prediction 0..n_labels-1, truth 0..n_classes-1.

    Returns:
        (n_labels, n_classes).
    """
    if not prediction.shape == truth.shape == inside.shape:
        raise ValueError(f"shapes must agree, found {prediction.shape}, {truth.shape} and {inside.shape}")
    labels, classes = prediction[inside], truth[inside]
    if labels.size and (labels.max() >= n_labels or classes.max() >= n_classes):
        raise ValueError(f"found label {labels.max()} and class {classes.max()}, the table is {n_labels} x {n_classes}")
    flat = labels.astype(np.int64) * n_classes + classes
    return np.bincount(flat, minlength=n_labels * n_classes).reshape(n_labels, n_classes)


def match_labels(table: IntArray, how: Mapping) -> IntArray:
    """Find the class that each label means.

    Args:
        table: (n_labels, n_classes), for one mapping a cohort summed over its scans.
        how: ``one``: each class gets at most one label, so that the sum of Dice is largest (Hungarian
            matching); ``many``: each label goes to the class that it overlaps most.

    Returns:
        (n_labels,) column of the class, -1 for a label without one.
    """
    if how == "one":
        mapping = np.full(len(table), -1, dtype=np.int64)
        dice = 2 * table / np.maximum(table.sum(1)[:, None] + table.sum(0)[None], 1)
        rows, columns = linear_sum_assignment(-dice)
        mapping[rows] = columns
        return mapping
    if how == "many":
        return np.where(table.sum(1) > 0, table.argmax(1), -1)
    raise ValueError(f"a mapping is 'one' or 'many', found {how!r}")


def dice_per_class(table: IntArray, mapping: IntArray) -> FloatArray:
    """(n_classes,) Dice of each class after `mapping`; NaN for a class that the truth lacks."""
    merged = np.zeros((table.shape[1], table.shape[1]), dtype=np.int64)
    mapped = mapping >= 0
    np.add.at(merged, mapping[mapped], table[mapped])
    total = table.sum(0)
    dice = 2 * np.diag(merged) / np.maximum(merged.sum(1) + total, 1)
    return np.where(total > 0, dice, np.nan)


def normalized_mutual_information(table: IntArray) -> float:
    """Mutual information over the mean of both entropies, 0..1; needs no mapping. 1 for two single groups."""
    joint = table[table > 0] / table.sum()
    rows, columns = _entropy(table.sum(1)), _entropy(table.sum(0))
    if rows + columns == 0:
        return 1.0
    mutual = rows + columns + float((joint * np.log(joint)).sum())
    return max(0.0, 2 * mutual / (rows + columns))


def adjusted_rand_index(table: IntArray) -> float:
    """Share of voxel pairs on which both agree, corrected for chance: 0 is chance, 1 is equal.

    References:
        Hubert and Arabie, "Comparing partitions", Journal of Classification 2 (1985).
    """
    pairs, in_rows, in_columns = (_pairs(counts) for counts in (table.ravel(), table.sum(1), table.sum(0)))
    everything = _pairs(table.sum(keepdims=True).ravel())
    if in_rows == in_columns == pairs:
        return 1.0
    by_chance = in_rows * in_columns / everything
    return (pairs - by_chance) / ((in_rows + in_columns) / 2 - by_chance)


def _entropy(counts: IntArray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _pairs(counts: IntArray) -> float:
    return float((counts.astype(np.float64) * (counts - 1.0)).sum() / 2)
