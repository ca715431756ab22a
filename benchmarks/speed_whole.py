"""From the command to labels: one 1 mm brain with a fitted model, and five in one call, beside Atropos in turns.

``python -m benchmarks.speed_whole --peers-python .venv-peers/bin/python`` fits `brain_t1` to the MNI152 brain and
segments it by `medseg segment`, the whole process with the page. Of Atropos the call alone counts (`ants_peers.py`);
reading, writing and the start of Python are left out there.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.baselines import ANTS
from benchmarks.table import machine
from sample_data.__main__ import write_brain

N_MANY = 5


def seconds_of(words: Sequence[str | Path]) -> float:
    """Wall clock time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run([*map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def medseg(*words: str | Path) -> list[str | Path]:
    """A command of the program."""
    return [sys.executable, "-m", "medseg", *words]


def atropos_seconds(python: Path, brain: Path, mask: Path, folder: Path) -> float:
    """The call of Atropos on the brain, in three classes."""
    words = [python, ANTS, brain, mask, folder / "atropos.nii.gz", 3, "Atropos"]
    done = subprocess.run([*map(str, words)], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-2])


def prepared_in(folder: Path, n_steps: int) -> tuple[Path, Path]:
    """The brain and its mask; beside them `one`, `many` and the fitted `model`."""
    write_brain(folder / "sample")
    brain, mask = folder / "sample" / "mni152_T1w.nii.gz", folder / "mask.nii.gz"
    image = nib.Nifti1Image.from_filename(brain)
    nib.save(nib.Nifti1Image((np.asarray(image.dataobj) > 0).astype(np.uint8), image.affine), mask)
    for name, n_scans in (("one", 1), ("many", N_MANY)):
        (folder / name).mkdir()
        for number in range(n_scans):
            shutil.copyfile(brain, folder / name / f"brain{number}.nii.gz")
    steps = f"training.max_steps={n_steps}"
    seconds_of(medseg("train", folder / "one", "--model", folder / "model", "--config", "brain_t1", "--set", steps))
    return brain, mask


def main() -> None:
    """Print the median of some turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peers-python", type=Path, required=True, help="Python of an environment with antspyx")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of training")
    options = parser.parse_args()
    print(machine())
    turns = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        brain, mask = prepared_in(folder, options.steps)
        for turn in range(options.turns):
            found = []
            for part in ("one", "many"):
                where: list[str | Path] = ["--model", folder / "model", "--out", folder / f"{part}{turn}"]
                found.append(seconds_of(medseg("segment", folder / part, *where)))
            turns.append([*found, atropos_seconds(options.peers_python, brain, mask, folder)])
            print(f"one {found[0]:.1f} s, {N_MANY} {found[1]:.1f} s, Atropos {turns[-1][-1]:.1f} s", flush=True)
    one, many, atropos = (statistics.median(column) for column in zip(*turns, strict=True))
    print(f"median: one {one:.1f} s ({one / atropos:.2f} of Atropos), "
          f"{N_MANY} in one call {many / N_MANY:.1f} s each ({many / N_MANY / atropos:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
