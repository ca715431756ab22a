"""The scans of `benchmarks.general`: which are fitted on, which are scored, in which channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import sets
from benchmarks.general_scores import Found, Score
from benchmarks.sets import Case, Fold
from medseg import Config, Scan, find_scans, group_channels
from medseg.io.label_volumes import read_labels


@dataclass(frozen=True)
class Cohort:
    """Scans that are fitted and scored together.

    Attributes:
        folds: pairs of (scans fitted on, scans scored); each has a model and a baseline of its own.
        channels: endings of the files of one scan, the first as in `Case.scan`; empty for one channel.
    """

    name: str
    config: str
    folds: tuple[Fold, ...]
    channels: tuple[str, ...] = ()

    @property
    def changes(self) -> list[str]:
        """Settings that say which files are channels of one scan; nothing else is set for a cohort."""
        return [f"channels.names=[{','.join(self.channels)}]", "channels.by=suffix"] if self.channels else []

    @property
    def scored(self) -> list[Case]:
        """The scored scans of all folds."""
        return [case for _, cases in self.folds for case in cases]

    def files(self, case: Case) -> list[Path]:
        """The files of all channels of a scan."""
        name = case.scan.name
        return [case.scan.with_name(name.replace(self.channels[0], c)) for c in self.channels] or [case.scan]

    def scan(self, case: Case, config: Config) -> Scan:
        """The scan with its channels."""
        return group_channels([find_scans(path)[0] for path in self.files(case)], config.channels)[0]

    def scores(self, files: Sequence[Path], score: Score) -> Mapping[str, Found]:
        """Mean over folds of the scores of label volumes, which are in the order of `scored`."""
        left, found = list(files), []
        for _, cases in self.folds:
            taken, left = left[: len(cases)], left[len(cases) :]
            found.append(score(cases, [read_labels(path)[0] for path in taken]))
        return {
            name: Found(float(np.mean([fold[name].value for fold in found])), "; ".join(f[name].detail for f in found))
            for name in found[0]
        }


def ct_trunk(shared: Path) -> Cohort:
    """CT of the trunk, fitted and scored on itself; the truth holds the class numbers of TotalSegmentator."""
    folder = shared / "ct_trunk"
    case = Case("example_ct", folder / "example_ct.nii.gz", folder / "example_seg_fast_force_split.nii.gz")
    return Cohort("ct_trunk", "body_ct", (([case], [case]),))


def ct_chest(shared: Path) -> Cohort:
    """Two cropped CTs of the chest; the truth is certain tissue: 1 lung, 2 fat, 3 soft tissue, 4 bone."""
    images = sorted((shared / "ct_chest" / "images").glob("*.nii.gz"))
    cases = [Case(path.name[:6], path, shared / "ct_chest" / "tissues" / path.name) for path in images]
    return Cohort("ct_chest", "body_ct", ((cases, cases),))


def gliomas(shared: Path) -> Cohort:
    """Three gliomas, FLAIR and T1 with contrast."""
    return _masked("brain_glioma", shared, ("FLAIR", "T1c"))


def multiple_sclerosis(shared: Path) -> Cohort:
    """One brain with multiple sclerosis, FLAIR, T1, T2."""
    return _masked("brain_ms", shared, ("FLAIR", "T1", "T2"))


def _masked(name: str, shared: Path, channels: tuple[str, ...]) -> Cohort:
    folder = shared / name
    cases = []
    for truth in sorted((folder / "truth").glob("*.nii.gz")):
        case = truth.name.removesuffix(".nii.gz")
        image = folder / "images" / f"{case}_{channels[0]}.nii.gz"
        cases.append(Case(case, image, truth, folder / "masks" / truth.name))
    return Cohort(name, "generic", ((cases, cases),), channels)


def lungs_left_out(shared: Path, out: Path) -> Cohort:
    """Lungs in MR, fitted on two, scored on the third, three ways; the truth is 1 all else, 2 lung."""
    return Cohort("lung_mr_t1 two", "lung_mr", tuple(sets.lung(shared, out).folds()))


def lungs_together(shared: Path, out: Path) -> Cohort:
    """The same three scans in one fit, all of them scored."""
    cases = [case for _, scored in sets.lung(shared, out).folds() for case in scored]
    return Cohort("lung_mr_t1 three", "lung_mr", ((cases, cases),))


def textures(shared: Path, out: Path) -> Cohort:
    """Three textures of one mean and variance, three phantoms, each fitted and scored on itself."""
    return Cohort("texture", "texture", tuple(sets.texture(shared, out).folds()))
