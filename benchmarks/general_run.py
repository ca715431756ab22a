"""One pass through the parts of `benchmarks.general` with one setting, and the rows of one fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.general_baselines import Baselines
from benchmarks.general_cohorts import Cohort
from benchmarks.general_fits import Fits, Setting, stem
from benchmarks.general_pictures import write_beside
from benchmarks.general_rows import Goal, Row
from benchmarks.general_scores import Found, Ints, Score, best_single
from benchmarks.sets import Case


@dataclass(frozen=True)
class Run:
    """One pass through the parts.

    Attributes:
        shared: the folder of the data; `out` takes phantoms and maps.
        only: numbers of labels to run; empty: all.
    """

    shared: Path
    out: Path
    setting: Setting
    fits: Fits
    baselines: Baselines
    only: tuple[int, ...] = ()

    def is_asked(self, k: int) -> bool:
        """Whether rows with `k` labels are to be run."""
        return not self.only or k in self.only

    def rows(self, cohort: Cohort, k: int, score: Score, goals: Mapping[str, Goal]) -> Iterator[Row]:
        """One row for each goal, all of the same fit."""
        if not self.is_asked(k):
            return
        ours, setting = self.fits.labelled(cohort, k, self.setting), self.setting
        found = cohort.scores(ours.files, score)
        theirs = self.baselines.labelled(cohort, k)
        self._draw(cohort, k, ours.files, theirs)
        peers = {m: cohort.scores(files, score) for m, files in theirs.items()}
        for what, goal in goals.items():
            baseline = {method: scores[what].value for method, scores in peers.items()}
            yield Row(
                cohort.name, what, k, found[what].value, baseline, goal, ours.seconds_fit, ours.seconds_scan,
                setting.variant, setting.seed, ours.files, found[what].detail,
            )  # fmt: skip

    def _draw(self, cohort: Cohort, k: int, ours: Sequence[Path], theirs: Mapping[str, Sequence[Path]]) -> None:
        """Each scan with all labels beside each other, below `out`."""
        for number, (case, file) in enumerate(zip(cohort.scored, ours, strict=True)):
            others = {method: files[number] for method, files in theirs.items()}
            name = f"{stem(cohort, k)}_{case.name}_{self.setting.variant.replace(' ', '_')}_seed{self.setting.seed}.png"
            write_beside(case, file, others, self.out / "pictures" / "beside" / name)


def single(what: str, structure: Sequence[int]) -> Score:
    """The score of the one label that follows a structure best, with the background counted."""

    def score(cases: Sequence[Case], labels: Sequence[Ints]) -> Mapping[str, Found]:
        truths = [case.read_truth() for case in cases]
        dice, label = best_single(labels, truths, structure, everywhere=True)
        return {what: Found(dice, f"label {label}")}

    return score


def told(names: Sequence[str], values: Sequence[float]) -> str:
    """Values with their names in one line."""
    return " ".join(f"{name} {value:.3f}" for name, value in zip(names, values, strict=True))
