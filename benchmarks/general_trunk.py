"""The trunk CT in `benchmarks.general`: four classes, and seven organs among fourteen classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks import general_cohorts
from benchmarks.general_rows import Goal, Row
from benchmarks.general_run import Run, told
from benchmarks.general_scores import Found, Ints, class_dice, organ_dice
from benchmarks.sets import CT_CLASSES, Case
from medseg import read_scan

FOUR = ("lung", "bone", "muscle", "soft organs")
"""Names of `CT_CLASSES`, from 1."""
ORGANS: dict[str, tuple[int, ...]] = {
    "liver": (5,),
    "spleen": (1,),
    "kidney": (2, 3),
    "stomach": (6,),
    "bowel": (18, 19, 20),
    "bladder": (21,),
    "vessels": tuple(range(51, 69)),
}
"""Class numbers of TotalSegmentator of the scored organs."""
OTHERS: dict[str, tuple[int, ...]] = {
    "lung": tuple(range(10, 15)),
    "bone": (*range(25, 51), *range(69, 79), *range(91, 117)),
    "muscle": tuple(range(80, 90)),
    "gallbladder": (4,),
    "pancreas": (7,),
    "cord": (79,),
}
"""Class numbers of what counts beside the organs."""
FAT_HU = (-150.0, -50.0)
"""Range of the voxels without a class that are fat, the fourteenth class."""


def organ_truth(case: Case) -> Ints:
    """(I, J, K) 1 to 7 the organs in the order of `ORGANS`, then the others, then fat; 0: not counted."""
    numbers = case.read_truth()
    truth = np.zeros(numbers.shape, dtype=np.int32)
    for value, numbers_of in enumerate([*ORGANS.values(), *OTHERS.values()], start=1):
        truth[np.isin(numbers, numbers_of)] = value
    hounsfield = read_scan(case.scan).as_tensor()[0].numpy()
    is_fat = (numbers == 0) & (hounsfield >= FAT_HU[0]) & (hounsfield <= FAT_HU[1])
    truth[is_fat] = len(ORGANS) + len(OTHERS) + 1
    return truth


def four_classes(run: Run) -> Iterator[Row]:
    """Lung, bone, muscle and soft organs, many labels to a class, inside the reference."""
    what = "4 classes, many to one"

    def score(cases: Sequence[Case], labels: Sequence[Ints]) -> Mapping[str, Found]:
        truths = [replace(case, classes=CT_CLASSES).read_truth() for case in cases]
        dice = class_dice(labels, truths, "many")
        return {what: Found(float(np.mean(list(dice.values()))), told(FOUR, list(dice.values())))}

    for k, goal in ((12, 0.93), (32, 0.95)):
        yield from run.rows(general_cohorts.ct_trunk(run.shared), k, score, {what: Goal(goal)})


def organs(run: Run) -> Iterator[Row]:
    """Seven organs among fourteen classes, many labels to an organ and one label to an organ."""
    goals = {"7 organs, many to one": Goal(0.60), "7 organs, one to one": Goal(0.55)}

    def score(cases: Sequence[Case], labels: Sequence[Ints]) -> Mapping[str, Found]:
        dice = organ_dice(labels[0], organ_truth(cases[0]), range(1, len(ORGANS) + 1))
        return {
            what: Found(float(values.mean()), told(tuple(ORGANS), values.tolist()))
            for what, values in zip(goals, dice, strict=True)
        }

    yield from run.rows(general_cohorts.ct_trunk(run.shared), 32, score, goals)
