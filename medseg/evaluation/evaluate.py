"""Score label maps whose numbers have no names against reference label maps.

One mapping from label to class serves the whole cohort: it is found once, on the confusion table summed over all
scans, so labels that change their meaning from scan to scan lose. Only voxels with truth > 0 (and inside the mask)
count, so the background is no success.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medseg.errors import ConfigError, InputError
from medseg.evaluation.overlap import (
    IntArray,
    Mapping,
    adjusted_rand_index,
    confusion,
    dice_per_class,
    match_labels,
    normalized_mutual_information,
)
from medseg.evaluation.pairs import PairPaths, find_pairs
from medseg.evaluation.scores import ClassMetrics, Evaluation, ScanMetrics, Unscored, write_metrics
from medseg.evaluation.surface_distance import SurfaceDistances
from medseg.io.label_volumes import read_labels
from medseg.io.read import turned_onto
from medseg.spatial.geometry import Geometry

__all__ = [
    "ClassMetrics", "Evaluation", "Pair", "ScanMetrics", "confusion", "dice_per_class", "evaluate",
    "evaluate_folders", "match_labels", "write_metrics",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """A predicted and a true (I, J, K) label map of one scan on one grid.

    Attributes:
        inside: the voxels that are scored.
    """

    name: str
    prediction: npt.NDArray[np.integer]
    truth: npt.NDArray[np.integer]
    inside: npt.NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def read(cls, paths: PairPaths) -> Pair:
        """Read the label maps of one scan.

        Raises:
            InputError: a file cannot be read, or the grids differ.
        """
        prediction, geometry = read_labels(paths.prediction)
        truth = _read_on(geometry, paths.truth)
        inside = truth > 0
        if paths.mask is not None:
            inside &= _read_on(geometry, paths.mask) > 0
        return cls(paths.name, prediction, truth, inside, geometry.spacing_mm)


def evaluate(
    pairs: Iterable[Pair],
    *,
    how: Mapping = "one",
    per_scan: bool = False,
    classes: Sequence[int] | None = None,
    tolerance_mm: float | None = 2.0,
) -> Evaluation:
    """Score a cohort.

    Args:
        pairs: gone through twice, one pair in memory at a time when it reads them while it goes.
        how: ``one`` label or ``many`` labels for a class, see `match_labels`.
        per_scan: find the mapping anew for each scan: the favour given to methods that cluster each alone.
        classes: values of the truth that are scored, by default all found.
        tolerance_mm: of the surface Dice; None leaves out surface distances, which take most of the time.

    Raises:
        ConfigError: no pair, or a class that no truth has.
        InputError: a truth without a voxel inside.
    """
    if iter(pairs) is pairs:
        raise ValueError("pairs are gone through twice; give a list, not an iterator")
    names, values, tables = _tables(pairs)
    chosen = values if classes is None else sorted(set(classes))
    if not set(chosen) <= set(values):
        raise ConfigError(f"classes {chosen} are to be scored, the truths have only {values}")
    shared = match_labels(np.sum(tables, axis=0), how)
    mappings = [match_labels(table, how) if per_scan else shared for table in tables]
    scans = []
    for name, table, mapping in zip(names, tables, mappings, strict=True):
        dice = dict(zip(values, dice_per_class(table, mapping).tolist(), strict=True))
        scans.append(_overlaps(name, table, {value: dice[value] for value in chosen}))
    if tolerance_mm is not None:
        scans = [
            _with_surfaces(scan, pair, np.append(values, 0)[mapping], tolerance_mm)
            for scan, pair, mapping in zip(scans, pairs, mappings, strict=True)
        ]
    n_labels = int(np.count_nonzero(np.sum(tables, axis=(0, 2))))
    return Evaluation(tuple(scans), n_labels, {n: values[c] for n, c in enumerate(shared.tolist()) if c >= 0})


def evaluate_folders(
    predictions: Path,
    truths: Path,
    *,
    masks: Path | None = None,
    how: Mapping = "one",
    per_scan: bool = False,
    classes: Sequence[int] | None = None,
    tolerance_mm: float | None = 2.0,
) -> Evaluation:
    """Score a folder of predictions against a folder of truths, paired by `find_pairs`; see `evaluate`.

    A case of which a half is missing, damaged, empty or on another grid has no score and is named in `unscored`.

    Raises:
        ConfigError: not one case can be scored.
    """
    pairs = find_pairs(predictions, truths, masks)
    sound, unscored = [], list(pairs.unscored)
    for paths in pairs.found:
        try:
            _check(Pair.read(paths))
            sound.append(paths)
        except InputError as error:
            unscored.append(Unscored(paths.name, error.code, str(error)))
    if not sound:
        raise ConfigError(f"not one of {len(unscored)} cases can be scored, such as {unscored[0].name}: "
                          f"{unscored[0].reason}")  # fmt: skip
    result = evaluate(_Files(tuple(sound)), how=how, per_scan=per_scan, classes=classes, tolerance_mm=tolerance_mm)
    return replace(result, unscored=tuple(sorted(unscored, key=lambda case: case.name)))


@dataclass(frozen=True)
class _Files:
    """Pairs that are read each time they are reached."""

    paths: tuple[PairPaths, ...]

    def __iter__(self) -> Iterator[Pair]:
        return (Pair.read(paths) for paths in self.paths)


def _read_on(geometry: Geometry, path: Path) -> npt.NDArray[np.integer]:
    """(I, J, K) labels on this grid; of the same places in another order of the axes, turned onto it."""
    labels, found = read_labels(path)
    if found.is_close(geometry):
        return labels
    turned = turned_onto(torch.from_numpy(labels.astype(np.int64)), found, geometry)
    if turned is None:
        raise InputError(
            f"{path}: found {found}, the prediction has {geometry}; resample one onto the other",
            code="grids_differ",
        )
    return turned.numpy()


def _tables(pairs: Iterable[Pair]) -> tuple[list[str], list[int], list[IntArray]]:
    """Names of the scans, values of the truths, and a table of equal shape for each scan."""
    names: list[str] = []
    found: list[tuple[list[int], IntArray]] = []
    for pair in pairs:
        _check(pair)
        values = np.flatnonzero(np.bincount(pair.truth[pair.inside]))
        column = np.zeros(int(pair.truth.max()) + 1, dtype=np.int32)
        column[values] = np.arange(len(values))
        n_labels = int(pair.prediction[pair.inside].max()) + 1
        table = confusion(pair.prediction, column[pair.truth], pair.inside, n_labels, len(values))
        names.append(pair.name)
        found.append((values.tolist(), table))
    if not names:
        raise ConfigError("there is nothing to score; give at least one prediction with its truth")
    everything = sorted({value for own, _ in found for value in own})
    n_labels = max(len(table) for _, table in found)
    tables = []
    for own, table in found:
        wide = np.zeros((n_labels, len(everything)), dtype=np.int64)
        wide[: len(table), np.searchsorted(everything, own)] = table
        tables.append(wide)
    return names, everything, tables


def _check(pair: Pair) -> None:
    if not pair.inside.any():
        raise InputError(f"{pair.name}: the truth has no voxel inside; leave it out", code="empty_truth")


def _overlaps(name: str, table: IntArray, dice: dict[int, float]) -> ScanMetrics:
    classes = {value: ClassMetrics(score) for value, score in dice.items()}
    return ScanMetrics(name, classes, normalized_mutual_information(table), adjusted_rand_index(table))


def _with_surfaces(scan: ScanMetrics, pair: Pair, meaning: IntArray, tolerance_mm: float) -> ScanMetrics:
    """Add surface scores; `meaning` is the class of each label, 0 for none."""
    mapped = np.where(pair.inside, meaning[np.where(pair.inside, pair.prediction, 0)], 0)
    classes = dict(scan.classes)
    for value, metrics in scan.classes.items():
        true = (pair.truth == value) & pair.inside
        if true.any():
            distances = SurfaceDistances.between(mapped == value, true, pair.spacing_mm)
            classes[value] = replace(
                metrics,
                surface_dice=distances.surface_dice(tolerance_mm),
                hausdorff95_mm=distances.hausdorff_mm(95),
            )
    return replace(scan, classes=classes)
