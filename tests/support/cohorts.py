"""Cohorts of small scans, sound and poisoned, and the command as a process of its own."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.paths import SUPPORT
from tests.support.scans import GRIDS, write_nifti

POISON = SUPPORT / "poison"
KINDS = ("corrupt", "truncated", "nan", "lying", "flat", "segfault", "eater", "sleeper")


def small_grid(spacing_mm: float = 4.0) -> Geometry:
    shape = int(140.0 / spacing_mm), int(156.0 / spacing_mm), int(132.0 / spacing_mm)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (np.asarray(shape) - 1) / 2
    return Geometry(shape, affine)


def write_cohort(folder: Path, n_scans: int) -> Path:
    for seed in range(n_scans):
        write_nifti(phantom(small_grid(), noise=8.0, seed=seed)[0], folder / f"good{seed:03d}.nii.gz")
    return folder


def write_poison(folder: Path, kinds: Sequence[str]) -> list[str]:
    """One bad scan for each of `kinds`; returns their ids."""
    sound, _ = phantom(small_grid(), noise=8.0, seed=999)
    names = []
    for number, kind in enumerate(kinds):
        name = f"{number:02d}{kind}"
        path = write_nifti(sound, folder / f"{name}.nii.gz")
        names.append(name)
        if kind == "corrupt":
            path.write_bytes(b"no image at all" * 100)
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif kind == "nan":
            broken = sound.clone()
            broken[0, 5:9] = float("nan")
            write_nifti(broken, path)
        elif kind == "lying":
            raw = bytearray(gzip.decompress(path.read_bytes()))
            raw[42:44] = np.int16(3000).tobytes()
            path.write_bytes(gzip.compress(bytes(raw)))
        elif kind == "flat":
            nib.save(nib.Nifti1Image(np.ones((30, 30), np.float32), np.eye(4)), path)
    return names


def command(*words: object, json: bool = False) -> list[str]:
    return [sys.executable, "-m", "medseg", *map(str, words), *(["--log-json"] if json else [])]


def environment(*, poison: bool = False) -> dict[str, str]:
    paths = [str(POISON)] if poison else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]), "COLUMNS": "200"}


def medseg(*words: object, poison: bool = False, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; a hang is a failure."""
    return subprocess.run(
        command(*words), env=environment(poison=poison), capture_output=True, text=True, timeout=timeout, check=False
    )


IN_TURN = """
import json
import sys
from medseg.cli.main import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    print(f"ended with {code}", flush=True)
"""


def medseg_in_turn(*commands: Sequence[object], timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run commands one after another in one process, which imports PyTorch once; says the code of each."""
    text = json.dumps([[str(word) for word in words] for words in commands])
    return subprocess.run(
        [sys.executable, "-c", IN_TURN, text],
        env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def manifest(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open() as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".medseg-*")]


def thick_series(folder: Path) -> Path:
    """A series of thick slices of the phantom."""
    geometry = Geometry((70, 78, 22), GRIDS["RAS"].affine @ np.diag([2, 2, 6, 1.0]))
    write_dicom_series(phantom(geometry, noise=8.0)[0], folder, modality="MR", series_number=4)
    return folder
