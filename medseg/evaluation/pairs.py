"""Which truth belongs to which prediction, by the names of the files."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import ConfigError
from medseg.io.label_volumes import NIFTI_SUFFIXES

_log = logging.getLogger(__name__)
_PREDICTION_END = re.compile(r"(_seg|(_seg-[A-Za-z0-9]+)?(_desc-[A-Za-z0-9]+)?_dseg)$")
_IMAGE_END = re.compile(r"_(T1w?|T2w?|PDw?|T2star|FLAIR|MR|CT|image|img|0000)$", re.IGNORECASE)
_TRUTH_ENDS = ("_truth", "_seg", "_dseg")


@dataclass(frozen=True)
class PairPaths:
    """The files of one scan that is to be scored; `name` is relative to the folder of predictions."""

    name: str
    prediction: Path
    truth: Path
    mask: Path | None = None


def find_pairs(predictions: Path, truths: Path, masks: Path | None = None) -> tuple[PairPaths, ...]:
    """Find the truth of each prediction, in the order of their names; other files among the truths are ignored.

    The prediction ``a/b_T1w_seg.nii.gz`` of the scan ``a/b_T1w`` has the truth ``a/b_T1w_truth``,
    ``a/b_T1w_seg``, ``a/b_truth``, ``a/b_seg`` or ``a/b_T1w``, whichever exists first, as ``.nii.gz`` or
    ``.nii``; its mask ends in ``_mask`` or has the name of the scan. Where no NIfTI file is named like a
    prediction (``_seg``, BIDS ``_dseg``), each one is taken for one.

    Raises:
        ConfigError: no prediction, or one without truth or mask.
    """
    pairs = tuple(_pair(path, name, truths, masks) for path, name in _predictions(predictions))
    if not pairs:
        raise ConfigError(f"{predictions} holds no NIfTI file; give the folder that holds the predictions")
    used = {pair.truth for pair in pairs}
    left = [path for path in _nifti_files(truths) if _stem(path).endswith("_truth") and path not in used]
    if left:
        _log.warning("%d of the truths have no prediction and are not scored, such as %s", len(left), left[0])
    return pairs


def _predictions(root: Path) -> Iterator[tuple[Path, str]]:
    """Each prediction under `root` with the name of its scan."""
    files = sorted(_nifti_files(root))
    named = [path for path in files if _PREDICTION_END.search(_stem(path))]
    for path in named or files:
        yield path, path.relative_to(root).with_name(_PREDICTION_END.sub("", _stem(path))).as_posix()


def _pair(prediction: Path, name: str, truths: Path, masks: Path | None) -> PairPaths:
    short = _IMAGE_END.sub("", name)
    names = [stem + end for stem in dict.fromkeys((name, short)) for end in _TRUTH_ENDS]
    truth = _first(truths, [*names, name], prediction)
    mask = None if masks is None else _first(masks, [f"{name}_mask", f"{short}_mask", name], prediction)
    return PairPaths(name, prediction, truth, mask)


def _first(root: Path, names: list[str], prediction: Path) -> Path:
    for name in names:
        for suffix in NIFTI_SUFFIXES:
            path = root / f"{name}{suffix}"
            if path.is_file() and path.resolve() != prediction.resolve():
                return path
    raise ConfigError(
        f"{prediction} has no counterpart in {root}; expected one of {', '.join(names)} with .nii.gz or .nii"
    )


def _nifti_files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder; give the folder that holds the label maps")
    for path in root.rglob("*"):
        if path.name.endswith(NIFTI_SUFFIXES) and not path.name.startswith(".") and path.is_file():
            yield path


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
