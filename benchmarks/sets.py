"""The sets of the benchmark: which scans are fitted on, which are scored, against what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from sample_data.benchmark_phantoms import mni_phantom, texture_phantom

Truth = npt.NDArray[np.int32]
Fold = tuple[list["Case"], list["Case"]]


@dataclass(frozen=True)
class Case:
    """A scan with its reference; `classes` maps values of the reference to what is scored, others to 0."""

    name: str
    scan: Path
    truth: Path
    mask: Path | None = None
    classes: dict[int, int] | None = None

    def read_truth(self) -> Truth:
        """(I, J, K) classes, 0 where nothing is scored."""
        stored = np.rint(np.asarray(nib.Nifti1Image.from_filename(self.truth).dataobj))
        found: Truth = stored.reshape(stored.shape[:3]).astype(np.int32)
        if self.classes is None:
            return found
        lookup = np.zeros(int(found.max()) + 1, dtype=np.int32)
        for value, target in self.classes.items():
            if value < len(lookup):
                lookup[value] = target
        return np.asarray(lookup[found])


@dataclass(frozen=True)
class Part:
    """One row of the table.

    Attributes:
        folds: pairs of (scans fitted on, scans scored).
        inside: label 0 is no label: it is not scored; else it counts as one more label.
        separate_folds: one mapping a fold (each fold has its own model), else one for all.
    """

    name: str
    config: str
    folds: Callable[[], Iterator[Fold]]
    classes: list[int] | None = None
    how: Literal["one", "many"] = "one"
    changes: tuple[str, ...] = ()
    inside: bool = True
    separate_folds: bool = False


def _ibsr_cases(shared: Path) -> list[Case]:
    folder = shared / "brain_t1_ibsr18"
    return [Case(p.name[:7], p, folder / f"{p.name[:7]}_truth.nii.gz") for p in sorted(folder.glob("*_T1w.nii.gz"))]


def ibsr_all(shared: Path, _out: Path) -> Part:
    """Ten brains, fitted on five of them, all segmented; white matter is what this reference can score."""
    cases = _ibsr_cases(shared)
    return Part("ibsr_all", "brain_t1", lambda: iter([(cases[:5], cases)]), classes=[3])


def ibsr(shared: Path, _out: Path) -> Part:
    """Ten brains, fitted on five, scored on the other five, both ways."""
    cases = _ibsr_cases(shared)
    folds = [(cases[:5], cases[5:]), (cases[5:], cases[:5])]
    return Part("ibsr", "brain_t1", lambda: iter(folds), classes=[3], separate_folds=True)


def brainweb(shared: Path, _out: Path) -> Part:
    """BrainWeb at 2 mm, 9 % noise, inside its mask; fitted and scored on the one volume."""
    folder = shared / "brain_t1_brainweb"
    case = Case("brainweb", folder / "brainweb_T1w.nii.gz", folder / "truth.nii.gz", folder / "brain_mask.nii.gz")
    return Part("brainweb", "brain_t1", lambda: iter([([case], [case])]))


def _phantom_part(noise: float, shading: float) -> Callable[[Path, Path], Part]:
    def make(_shared: Path, out: Path) -> Part:
        folds = []
        for seed in range(3 if noise else 1):
            case = Case(f"pn{noise:g}_rf{shading:g}_{seed}", *mni_phantom(out / "phantoms", noise, shading, seed))
            folds.append(([case], [case]))
        return Part(f"mni_pn{noise:g}_rf{shading:g}", "brain_t1", lambda: iter(folds), separate_folds=True)

    return make


OTHER_LEVELS = ((0, 0), (1, 20), (5, 0), (5, 40), (7, 20), (9, 0), (9, 20))
"""Noise and shading, in percent, that no setting was chosen with."""


def mni_levels(_shared: Path, out: Path) -> Part:
    """One model for every level of noise and shading: fitted on pn 3 rf 20, scored on others that it never saw."""

    def case(noise: float, shading: float, seed: int) -> Case:
        return Case(f"pn{noise:g}_rf{shading:g}_{seed}", *mni_phantom(out / "phantoms", noise, shading, seed))

    others = [case(*levels, seed=11 + n) for n, levels in enumerate(OTHER_LEVELS)]
    return Part("mni_levels", "brain_t1", lambda: iter([([case(3, 20, 10)], others)]))


CT_CLASSES = {
    **dict.fromkeys(range(10, 15), 1),
    **dict.fromkeys([*range(25, 51), *range(69, 79), *range(91, 117)], 2),
    **dict.fromkeys(range(80, 90), 3),
    **dict.fromkeys([1, 2, 3, 5, 7, 51, 52], 4),
}
"""Lung, bone, muscle, soft organs in the class numbers of TotalSegmentator."""


def ct(shared: Path, _out: Path) -> Part:
    """CT of the trunk: lung, bone, muscle, soft organs, many labels to a class, inside the reference."""
    folder = shared / "ct_trunk"
    truth = folder / "example_seg_fast_force_split.nii.gz"
    case = Case("example_ct", folder / "example_ct.nii.gz", truth, classes=CT_CLASSES)
    return Part("ct", "body_ct", lambda: iter([([case], [case])]), how="many")


def lung(shared: Path, _out: Path) -> Part:
    """Lungs in MR: fitted on two, scored on the third, three ways, over the whole volume."""
    folder = shared / "lung_mr_t1"
    both = {0: 1, 1: 2, 2: 2}
    cases = [
        Case(n, folder / f"{n}_image.nii.gz", folder / f"{n}_truth.nii.gz", classes=both)
        for n in ("0004", "0006", "0007")
    ]
    folds = [([c for c in cases if c is not left], [left]) for left in cases]
    return Part("lung", "lung_mr", lambda: iter(folds), classes=[2], how="many", inside=False, separate_folds=True)


def texture(_shared: Path, out: Path) -> Part:
    """Three textures of one mean and variance, three seeds; fitted and scored on each volume."""
    cases = [Case(f"texture{seed}", *texture_phantom(out / "phantoms", seed)) for seed in range(3)]
    folds = [([case], [case]) for case in cases]
    changes = ("clustering.n_clusters=3",)
    return Part("texture", "texture", lambda: iter(folds), changes=changes, separate_folds=True)


SETS: dict[str, Callable[[Path, Path], Part]] = {
    "ibsr_all": ibsr_all,
    "ibsr": ibsr,
    "brainweb": brainweb,
    "mni_clean": _phantom_part(0, 0),
    "mni_noisy": _phantom_part(9, 40),
    "mni_levels": mni_levels,
    "ct": ct,
    "lung": lung,
    "texture": texture,
}

BRAINS = ("ibsr_all", "ibsr", "brainweb", "mni_clean", "mni_noisy", "mni_levels")
"""Parts on which tissues are what is asked for, so that tissue classifiers can take part."""
