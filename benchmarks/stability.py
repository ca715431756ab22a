"""Seed against seed: how alike the labels of two models are that differ in nothing but the seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.sets import Part
from medseg.evaluation.overlap import adjusted_rand_index, confusion
from medseg.io.label_volumes import read_labels


def compare(part: Part, out: Path, seeds: Sequence[int]) -> str:
    """Adjusted Rand index of every two seeds' labels on every scored scan, and whether label k stays label k.

    Read from the label volumes that `ours.run` left below `out`, inside what either labelled.
    """
    indices, kept = [], []
    for case in dict.fromkeys(case.name for _, scored in part.folds() for case in scored):
        volumes = [read_labels(out / part.name / "medseg" / f"seed{seed}" / f"{case}_seg.nii.gz")[0] for seed in seeds]
        for first, second in combinations(volumes, 2):
            inside = (first > 0) | (second > 0)
            size = int(max(first.max(), second.max())) + 1
            table = confusion(first, second, inside, size, size)
            indices.append(adjusted_rand_index(table))
            found = table[1:, 1:]
            kept.append(bool((found.argmax(axis=0) == np.arange(size - 1))[found.sum(axis=0) > 0].all()))
    return (
        f"{part.name}, seeds {' '.join(map(str, seeds))}: "
        f"ARI mean {np.mean(indices):.4f}, least {np.min(indices):.4f}, "
        f"labels keep their number in {sum(kept)} of {len(kept)} pairs"
    )
