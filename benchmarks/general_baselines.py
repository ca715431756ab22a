"""The baseline of `benchmarks.general`: `structures.py` beside the data, run as it is.

One k-means or Gaussian mixture over the whole cohort on intensities smoothed by 1.5 mm, with as many labels as medseg.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.general_cohorts import Cohort
from benchmarks.general_fits import stem
from benchmarks.sets import Case
from medseg import LabelTable, Segmentation, read_labels, read_scan
from medseg.report.mosaic import write_mosaic
from medseg.report.slices import cut_slices

METHODS = ("kmeans", "gmm")


@dataclass
class Baselines:
    """Label volumes of the baselines; each is made when it is first asked for.

    Attributes:
        tool: path of `structures.py`.
    """

    tool: Path
    out: Path
    _labelled: dict[tuple[str, int], Mapping[str, tuple[Path, ...]]] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> str:
        """The reason why there are no baselines; empty when there are."""
        return "" if self.tool.is_file() else f"no baselines: {self.tool} is not there"

    def labelled(self, cohort: Cohort, k: int) -> Mapping[str, tuple[Path, ...]]:
        """By method, label volumes in the order of `Cohort.scored`; empty without `structures.py`."""
        key = (cohort.name, k)
        if key not in self._labelled:
            self._labelled[key] = {} if self.missing else {m: self._run(cohort, k, m) for m in METHODS}
        return self._labelled[key]

    def _run(self, cohort: Cohort, k: int, method: str) -> tuple[Path, ...]:
        files: list[Path] = []
        for number, (fitted, scored) in enumerate(cohort.folds):
            folder = self.out / "baselines" / stem(cohort, k) / method / f"fold{number}"
            folder.mkdir(parents=True, exist_ok=True)
            table = folder / "suite.csv"
            _write_suite(cohort, fitted, scored, table)
            flags = ["--ct"] if cohort.config == "body_ct" else []
            run_tool(self.tool, "baseline", folder, table, "--clusters", str(k), "--method", method, *flags)
            files += [folder / case.scan.name for case in scored]
        for case, file in zip(cohort.scored, files, strict=True):
            self._draw(cohort, case, file, k, method)
        return tuple(files)

    def _draw(self, cohort: Cohort, case: Case, file: Path, k: int, method: str) -> None:
        """A picture named like that of medseg's labels, so that both lie side by side in the folder."""
        result = Segmentation(*read_labels(file), LabelTable.default(k))
        picture = self.out / "pictures" / f"{stem(cohort, k)}_{case.name}_{method}.png"
        title = f"{cohort.name} {case.name}, K = {k}, {method} of smoothed intensities"
        write_mosaic(cut_slices(read_scan(case.scan), result), result.table, picture, title=title)


def run_tool(tool: Path, *arguments: str | Path) -> str:
    """Standard output of one command of `structures.py`.

    Raises:
        RuntimeError: it failed; the message is the end of its own.
    """
    command = [sys.executable, str(tool), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError(f"{tool.name} {arguments[0]} failed: {done.stderr[-500:]}")
    return done.stdout


def _write_suite(cohort: Cohort, fitted: Sequence[Case], scored: Sequence[Case], table: Path) -> None:
    """The table of scans that `structures.py baseline` reads."""
    rows = []
    for case in dict.fromkeys([*(case.name for case in fitted), *(case.name for case in scored)]):
        found = next(other for other in [*fitted, *scored] if other.name == case)
        images = ";".join(map(str, cohort.files(found)))
        rows.append((images, found.mask or "", int(case in {other.name for other in fitted})))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "fit"), *rows])
