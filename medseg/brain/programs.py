"""Programs for brain extraction: given a copy of the voxels in a private folder, asked for a mask, held to their time.

HD-BET (Isensee et al., Human Brain Mapping 40:4952, 2019), SynthStrip (Hoopes et al., NeuroImage 260:119474, 2022).
What they print is not kept: it may hold paths.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.brain import guard
from medseg.errors import InputError
from medseg.io.atomic import scratch_folder
from medseg.io.label_volumes import nifti_header
from medseg.io.read import read_mask
from medseg.spatial.geometry import Geometry

SECONDS = 1800.0
"""Longest time for one scan; HD-BET needs minutes on a CPU."""
_FAILED = "brain_mask_failed"
_WRONG_USAGE = 2
"""Exit code of programs that do not know their arguments: another version is tried."""
SCAN, MASK = "scan.nii.gz", "mask.nii.gz"


class _Call(NamedTuple):
    """Arguments, and the file that holds the mask then; {} stands for ``cpu`` or ``cuda``."""

    arguments: tuple[str, ...]
    mask: str


_CALLS = {
    "hd-bet": (
        _Call(("-i", SCAN, "-o", "brain.nii.gz", "-device", "{}", "--disable_tta", "--save_bet_mask", "--no_bet_image"),
              "brain_bet.nii.gz"),
        _Call(("-i", SCAN, "-o", "brain.nii.gz", "-device", "{}", "-mode", "fast", "-tta", "0", "-s", "1"),
              "brain_mask.nii.gz"),
    ),
    "mri_synthstrip": (_Call(("-i", SCAN, "-m", MASK), MASK),),
}  # fmt: skip
"""Of HD-BET version 2, then 1."""


def program_mask(
    name: str, image: MetaTensor, device: torch.device, beside: Path, seconds: float = SECONDS
) -> MetaTensor:
    """(1, I, J, K) of 0 and 1: the brain, as the program `name` finds it in a (1, I, J, K) image.

    Args:
        beside: a path beside which a folder for the time of the call may lie.

    Raises:
        InputError: ``brain_mask_failed``: the program ends with an error, takes too long, or leaves no mask on the
            scan's grid.
    """
    with scratch_folder(beside) as folder:
        _write(image, folder / SCAN)
        return _checked(name, _called(name, folder, device, seconds), Geometry.of(image))


def _write(image: MetaTensor, path: Path) -> None:
    geometry, voxels = Geometry.of(image), image.as_tensor()[0].cpu().numpy()
    header = nifti_header(voxels, geometry)
    header.set_intent("none")
    nib.save(nib.Nifti1Image(voxels, geometry.affine, header), path)


def _called(name: str, folder: Path, device: torch.device, seconds: float) -> Path:
    """Where the program says that it has put the mask."""
    program = shutil.which(name)
    if program is None:
        raise InputError(f"{name} is no longer on PATH, expected it as when medseg was called; install it again",
                         code=_FAILED)  # fmt: skip
    code = 0
    for call in _CALLS[name]:
        words = [word.format(device.type) for word in call.arguments]
        code = _run([program, *words], folder, seconds)
        if code != _WRONG_USAGE:
            break
    if code == guard.AFTER_ITS_TIME:
        raise InputError(f"{name} gave no mask within {seconds:.0f} s, expected one; take another tool, or draw a mask "
                         "and give it with --masks", code=_FAILED)  # fmt: skip
    if code:
        raise InputError(f"{name} ended with exit code {code}, expected 0; run it by hand on this scan to see why, or "
                         "take another tool", code=_FAILED)  # fmt: skip
    return folder / call.mask


def _run(command: list[str], folder: Path, seconds: float) -> int:
    """Exit code of a command; the pipe tells the guard when this process is gone."""
    guarded = [sys.executable, "-I", str(Path(guard.__file__)), str(seconds), *command]
    with subprocess.Popen(guarded, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        return process.wait()


def _checked(name: str, path: Path, geometry: Geometry) -> MetaTensor:
    """The mask that a program left.

    Raises:
        InputError: there is none, or it is none of this scan.
    """
    if not path.is_file():
        raise InputError(f"{name} ended well and left no mask, expected {path.name}; take another tool, or another "
                         "version of it", code=_FAILED)  # fmt: skip
    try:
        return read_mask(path, geometry)
    except InputError as error:
        raise InputError(f"{name}: {error}", code=_FAILED) from None
