"""Label maps with their truths, of which it is known what they share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg.evaluation.evaluate import Pair

SPACING_MM = (0.7, 1.2, 3.0)
SHAPE = (12, 13, 11)
Ints = npt.NDArray[np.integer]


def blocks(seed: int, high: int) -> Ints:
    """Random blocks of 0..high-1 with noise."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, high, (3, 4, 3)), np.ones((4, 4, 4), dtype=int))[:12, :13, :11]
    noise = rng.random(labels.shape) < 0.1
    labels[noise] = rng.integers(0, high, noise.sum())
    return labels


def prediction_of(truth: Ints, seed: int, high: int) -> Ints:
    """Labels that mean something: a shuffled truth with errors."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(7).integers(0, high, 100)[truth]
    wrong = rng.random(truth.shape) < 0.3
    labels[wrong] = rng.integers(0, high, wrong.sum())
    return labels


def pair(name: str, prediction: Ints, truth: Ints) -> Pair:
    return Pair(name, prediction, truth, truth > 0, SPACING_MM)


def cohort(high: int) -> list[Pair]:
    truths = [np.where(blocks(seed, 4) == 3, 9, blocks(seed, 4)) for seed in range(3)]
    truths[2] = np.where(truths[2] == 9, 1, truths[2])  # the last scan lacks class 9
    return [pair(f"s{seed}", prediction_of(t, seed, high), t) for seed, t in enumerate(truths)]
