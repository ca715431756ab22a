"""A tree over labels that have none of their own, grown on sampled voxels; see `medseg.labels.hierarchy`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg.labels.description import Sample
from medseg.labels.hierarchy import FINEST, Hierarchy

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
N_SAMPLES = 20_000
"""Voxels of the whole cohort that the tree is fitted on."""
_FEWEST = 20
"""Sampled voxels that a part must have to be divided."""


def grown(samples: Sequence[Sample], n_labels: int, *, seed: int) -> Hierarchy:
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
    return Hierarchy(
        np.asarray(owner)[order] + 1, joins, shift, scale, centres[order], shares[order], means[order], zeros
    )


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
