"""Which truth belongs to which prediction, by the names of the files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import ConfigError, InputError
from medseg.evaluation.scores import Unscored
from medseg.io.label_volumes import NIFTI_SUFFIXES

_PREDICTION_END = re.compile(r"(_seg|(_seg-[A-Za-z0-9]+)?(_desc-[A-Za-z0-9]+)?_dseg)$")
_IMAGE_END = re.compile(r"_(T1w?|T2w?|PDw?|T2star|FLAIR|MR|CT|image|img|0000)$", re.IGNORECASE)
_TRUTH_ENDS = ("_truth", "_seg", "_dseg")
_TRUTH_END = re.compile(r"(_truth|_seg|_dseg)$")


@dataclass(frozen=True)
class PairPaths:
    """The files of one scan that is to be scored; `name` is relative to the folder of predictions."""

    name: str
    prediction: Path
    truth: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Pairs:
    """What two folders hold: the pairs, and the cases of which a half is missing."""

    found: tuple[PairPaths, ...]
    unscored: tuple[Unscored, ...]


def find_pairs(predictions: Path, truths: Path, masks: Path | None = None) -> Pairs:
    """Find the truth of each prediction, in the order of their names.

    The prediction ``a/b_T1w_seg.nii.gz`` of the scan ``a/b_T1w`` has the truth ``a/b_T1w_truth``,
    ``a/b_T1w_seg``, ``a/b_truth``, ``a/b_seg`` or ``a/b_T1w``, whichever exists first, as ``.nii.gz`` or
    ``.nii``; its mask ends in ``_mask`` or has the name of the scan. Where no NIfTI file is named like a
    prediction (``_seg``, BIDS ``_dseg``), each one is taken for one. Files among the truths that are named like one
    (each that is no image and no mask, where none is) must have a prediction.

    Raises:
        ConfigError: a folder is missing, or there is no prediction.
    """
    named = tuple(_predictions(predictions))
    if not named:
        raise ConfigError(f"{predictions} holds no NIfTI file; give the folder that holds the predictions")
    found, unscored = [], []
    known = {path.resolve() for path, _ in named}
    for path, name in named:
        try:
            truth = _truth(path, name, truths)
            known.add(truth.resolve())
            found.append(PairPaths(name, path, truth, None if masks is None else _mask(path, name, masks)))
        except InputError as error:
            unscored.append(Unscored(name, error.code, str(error)))
    for path in _truths(truths):
        if path.resolve() not in known:
            name = path.relative_to(truths).with_name(_TRUTH_END.sub("", _stem(path))).as_posix()
            reason = f"found no prediction for {path.relative_to(truths)}, expected one in {predictions.name}"
            unscored.append(Unscored(name, "no_prediction", f"{reason}; segment that scan"))
    return Pairs(tuple(found), tuple(sorted(unscored, key=lambda case: case.name)))


def _truths(root: Path) -> list[Path]:
    """The files that are named like a truth; where none is, all but images and masks."""
    files = sorted(_nifti_files(root))
    named = [path for path in files if _TRUTH_END.search(_stem(path))]
    others = [path for path in files if not _stem(path).endswith("_mask") and not _IMAGE_END.search(_stem(path))]
    return named or others


def _predictions(root: Path) -> Iterator[tuple[Path, str]]:
    """Each prediction under `root` with the name of its scan."""
    files = sorted(_nifti_files(root))
    named = [path for path in files if _PREDICTION_END.search(_stem(path))]
    for path in named or files:
        yield path, path.relative_to(root).with_name(_PREDICTION_END.sub("", _stem(path))).as_posix()


def _truth(prediction: Path, name: str, truths: Path) -> Path:
    stems = dict.fromkeys((name, _IMAGE_END.sub("", name)))
    return _first(truths, [*(stem + end for stem in stems for end in _TRUTH_ENDS), name], prediction, "no_truth")


def _mask(prediction: Path, name: str, masks: Path) -> Path:
    return _first(masks, [f"{name}_mask", f"{_IMAGE_END.sub('', name)}_mask", name], prediction, "no_mask")


def _first(root: Path, names: list[str], prediction: Path, code: str) -> Path:
    for name in names:
        for suffix in NIFTI_SUFFIXES:
            path = root / f"{name}{suffix}"
            if path.is_file() and path.resolve() != prediction.resolve():
                return path
    raise InputError(
        f"{prediction.name} has no counterpart in {root}; expected one of {', '.join(names)} with .nii.gz or .nii",
        code=code,
    )


def _nifti_files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder; give the folder that holds the label maps")
    for path in root.rglob("*"):
        if path.name.endswith(NIFTI_SUFFIXES) and not path.name.startswith(".") and path.is_file():
            yield path


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
