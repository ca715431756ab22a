"""Does a scan cost the same in a batch of ten and in one of a thousand? Seconds and peak memory by number of scans.

``python -m benchmarks.speed_growth --scans 10 100 300``: small phantoms, one model, one worker; time and memory of each
scan as the manifest has them, so that starting the program does not count.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg import Model, load_config, read_scan
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom

GRID = Geometry((35, 39, 33), np.diag([4.0, 4.0, 4.0, 1.0]))


def write_scans(folder: Path, n_scans: int) -> None:
    """Phantoms that differ by their noise."""
    folder.mkdir(parents=True)
    for seed in range(n_scans):
        image, _ = phantom(GRID, noise=8.0, seed=seed)
        nib.save(nib.Nifti1Image(image.numpy()[0], GRID.affine), folder / f"scan{seed:04d}.nii.gz")


def measure(model: Path, scans: Path, out: Path) -> str:
    """Mean seconds of all scans but the first, of the ten after it, of the last ten; memory of the first and the last.

    The manifest has tenths of a second, so a median would be one of a few numbers; the first scan loads libraries.
    """
    words = ["segment", scans, "--model", model, "--out", out, "--workers", 1]
    subprocess.run([sys.executable, "-m", "medseg", *map(str, words)], check=True, stderr=subprocess.DEVNULL)
    with (out / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    seconds = [float(row["seconds"]) for row in rows]
    memory = [float(row["peak_memory_mb"]) for row in rows]
    whole, first, last = (statistics.mean(part) for part in (seconds[1:], seconds[1:11], seconds[-10:]))
    return (
        f"{len(rows)} scans: {whole:.3f} s a scan (first ten {first:.2f}, last ten {last:.2f}), "
        f"peak {memory[0]:.0f} MB in the first, {memory[-1]:.0f} MB in the last"
    )


def main() -> None:
    """Measure batches of every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, nargs="+", default=[10, 100, 1000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n_scans in args.scans:
            write_scans(folder / f"in{n_scans}", n_scans)
            if n_scans == args.scans[0]:
                changes = ["training.max_steps=4", "clustering.method=cohort", "clustering.bias_sigma_mm=null"]
                paths = sorted((folder / f"in{n_scans}").iterdir())[:2]
                Model.fit([read_scan(path) for path in paths], load_config("smoke", changes)).save(folder / "model")
            print(measure(folder / "model", folder / f"in{n_scans}", folder / f"out{n_scans}"), flush=True)


if __name__ == "__main__":
    main()
