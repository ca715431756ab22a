"""Programs that stand for HD-BET and SynthStrip: found on PATH, called as the real ones are, with known masks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from medseg.spatial.geometry import Geometry
from sample_data.heads import BRAIN_MM

_START = """#!/bin/sh
echo "$@" >> '{log}'
echo "/data/Jane_Doe/scan.nii.gz: cannot open" >&2
"""
SYNTHSTRIP = _START + """[ "$1 $2 $3" = "-i scan.nii.gz -m" ] && cp '{mask}' "$4"\n"""
HD_BET_2 = (
    _START
    + """
[ "$1 $2 $3 $4 $5" = "-i scan.nii.gz -o brain.nii.gz -device" ] || exit 9
[ "$6 $7 $8 $9" = "cpu --disable_tta --save_bet_mask --no_bet_image" ] || exit 2
cp '{mask}' brain_bet.nii.gz
"""
)
HD_BET_1 = (
    _START
    + """
[ "$1 $2 $3 $4 $5" = "-i scan.nii.gz -o brain.nii.gz -device" ] || exit 9
[ "$6 $7 $8 $9 ${{10}} ${{11}} ${{12}}" = "cpu -mode fast -tta 0 -s 1" ] || exit 2
cp '{mask}' brain_mask.nii.gz
"""
)
ANY_HEAD = f"""#!{sys.executable}
import sys
import nibabel as nib, numpy as np
open("{{log}}", "a").write(" ".join(sys.argv[1:]) + "\\n")
image = nib.load("scan.nii.gz")
places = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1) @ image.affine[:3, :3].T
brain = np.linalg.norm((places + image.affine[:3, 3]) / {BRAIN_MM}, axis=-1) <= 1
nib.save(nib.Nifti1Image(brain.astype(np.uint8), image.affine), "mask.nii.gz")
"""
"""A program that knows the brain of `sample_data.heads` on every grid; slower, for it starts Python."""
FAILS, CRASHES, LEAVES_NOTHING, HANGS = (_START + code + "\n" for code in ("exit 7", "kill -SEGV $$", "", "sleep 600"))
FAILS_THEN_CRASHES = _START + "mkdir '{log}.once' 2>/dev/null && exit 7\nkill -SEGV $$\n"
"""Fails when it is called first, and crashes afterwards."""
KNOWS_NO_ARGUMENTS = _START + "exit 2\n"


class FakeTool:
    """One program on PATH; what it was called with is written down.

    Args:
        mask: copied as the program's mask; of `geometry`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        code: str,
        monkeypatch: pytest.MonkeyPatch,
        mask: tuple[npt.NDArray[np.generic], Geometry] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log, stored = folder / f"{name}.log", folder / "mask.nii.gz"
        if mask is not None:
            nib.save(nib.Nifti1Image(mask[0], mask[1].affine), stored)
        (folder / name).write_text(code.format(log=self.log, mask=stored))
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []
