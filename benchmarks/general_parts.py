"""The parts of `benchmarks.general`: small functions from a run to its rows, with the goals of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks import general_cohorts
from benchmarks.general_anomaly import anomaly
from benchmarks.general_rows import Goal, Row
from benchmarks.general_run import Run, single, told
from benchmarks.general_scores import Found, Ints, class_dice, consistency, within_body
from benchmarks.general_trunk import four_classes, organs
from benchmarks.sets import Case

TISSUES = {1: "lung", 2: "fat", 3: "soft", 4: "bone"}
"""Values of the references of ct_chest."""


def gliomas(run: Run) -> Iterator[Row]:
    """Whole tumour and enhancing tumour, best single label, background counted."""
    cohort = general_cohorts.gliomas(run.shared)
    for name, values, k, goal in (("whole tumour", (1, 2, 3, 4), 6, 0.82), ("enhancing tumour", (4,), 12, 0.75)):
        what = f"{name}, best label"
        yield from run.rows(cohort, k, single(what, values), {what: Goal(goal)})


def ct_chest(run: Run) -> Iterator[Row]:
    """Whether each tissue has the same labels in both chests, and how much of the lung has none.

    The truth calls couch, foam and clothes lung too, a quarter of the lung of chest1: it is scored without them as
    well.
    """
    cohort, unlabelled = general_cohorts.ct_chest(run.shared), "lung without a label"
    within = "lung inside the body"

    def score(cases: Sequence[Case], labels: Sequence[Ints]) -> Mapping[str, Found]:
        truths, names = [case.read_truth() for case in cases], [case.name for case in cases]
        found = consistency(labels, truths)
        inner = consistency(labels, [within_body(truth) for truth in truths])
        same = {
            f"{name}, same labels": Found(part.overlap, f"labels {' '.join(map(str, part.labels))}")
            for name, part in [*((name, found[value]) for value, name in TISSUES.items()), (within, inner[1])]
        }
        bare = {unlabelled: found[1].unlabelled, f"{within} without a label": inner[1].unlabelled}
        return {**same, **{name: Found(max(shares), told(names, shares)) for name, shares in bare.items()}}

    for k, goal in ((5, 0.98), (12, 0.90)):
        goals = {f"{name}, same labels": Goal(goal) for name in (*TISSUES.values(), within)}
        goals |= {unlabelled: Goal(0.01, at_most=True), f"{within} without a label": Goal(0.01, at_most=True)}
        yield from run.rows(cohort, k, score, goals)


def lungs(run: Run) -> Iterator[Row]:
    """Lungs in MR: many labels on a scan that is not in the fit, and the best single label of one fit."""
    what, best = "lungs, many to one", "lungs, best label"

    def score(cases: Sequence[Case], labels: Sequence[Ints]) -> Mapping[str, Found]:
        shifted = [found.astype(np.int32) + 1 for found in labels]  # voxels without a label are one more label
        dice = class_dice(shifted, [case.read_truth() for case in cases], "many")[2]
        return {what: Found(dice, f"{cases[0].name} {dice:.3f}")}

    yield from run.rows(general_cohorts.lungs_left_out(run.shared, run.out), 6, score, {what: Goal(0.956)})
    together = general_cohorts.lungs_together(run.shared, run.out)
    yield from run.rows(together, 6, single(best, (2,)), {best: Goal(0.94)})


def texture(run: Run) -> Iterator[Row]:
    """Three textures of one mean and variance, one label to a texture, three phantoms."""
    what = "3 textures, one to one"

    def score(cases: Sequence[Case], labels: Sequence[Ints]) -> Mapping[str, Found]:
        mean = float(np.mean(list(class_dice(labels, [case.read_truth() for case in cases], "one").values())))
        return {what: Found(mean, f"{cases[0].name} {mean:.3f}")}

    yield from run.rows(general_cohorts.textures(run.shared, run.out), 3, score, {what: Goal(0.955)})


PARTS: dict[str, tuple[Callable[[Run], Iterator[Row]], tuple[str, ...]]] = {
    "ct_trunk": (four_classes, ("ct_trunk",)),
    "organs": (organs, ("ct_trunk",)),
    "gliomas": (gliomas, ("brain_glioma",)),
    "ct_chest": (ct_chest, ("ct_chest",)),
    "lungs": (lungs, ("lung_mr_t1",)),
    "texture": (texture, ()),
    "anomaly": (anomaly, ("brain_glioma", "brain_ms")),
}
"""Function of each part, and the folders of the data that it needs."""
