"""How long finding and judging takes: a made-up hospital tree of 10,000 DICOM files, headers as a scanner writes them.

Run as ``python -m benchmarks.inspect_speed [FOLDER] [--files N]``; prints seconds, files a second and the verdicts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom

from medseg.io.find import find_scans
from sample_data.dicom_series import write_dicom_series

SLICES = 100
DEFECTS = ("none", "missing", "tilt", "none", "localiser")


def make_tree(folder: Path, n_files: int) -> None:
    """Series of 100 slices of 64 x 64 pixels with 100 more header elements, a file without extension between them."""
    voxels = np.random.default_rng(0).integers(-1000, 2000, (64, 64, SLICES)).astype(np.float64)
    (folder / "once").mkdir(parents=True)
    paths = write_dicom_series((voxels, np.diag([0.8, 0.8, 2.0, 1.0])), folder / "once", modality="CT")
    slices = [pydicom.dcmread(path) for path in paths]
    for path in paths:
        path.unlink()
    (folder / "once").rmdir()
    for found in slices:
        private = found.private_block(0x0009, "MEDSEG BENCHMARK", create=True)
        for n in range(100):
            private.add_new(n, "LO", f"element {n} of a long private header")
    for number in range(n_files // SLICES):
        _write_series(slices, folder / f"patient{number // 5}" / f"series{number % 5}", number)


def _write_series(slices: list[pydicom.FileDataset], folder: Path, number: int) -> None:
    defect = DEFECTS[number % len(DEFECTS)]
    folder.mkdir(parents=True)
    for k, found in enumerate(slices):
        found.SeriesInstanceUID, found.SOPInstanceUID = f"1.2.{number}", f"1.2.{number}.{k}"
        found.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if defect == "localiser" else "AXIAL"]
        found.ImagePositionPatient = [0, 0.4 * k if defect == "tilt" else 0, 2 * k]
        found.save_as(folder / f"I{k}")
    if defect == "missing":
        (folder / "I50").write_bytes(b"no DICOM at all")


def main() -> None:
    """Make the tree if needed, and time three passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "tree"
        if not folder.exists():
            make_tree(folder, args.files)
        for _ in range(3):
            wall, processor = time.perf_counter(), time.process_time()
            scans = find_scans(folder)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            print(f"{args.files} files: {wall:.1f} s, {processor:.1f} s of one core; "
                  f"{dict(Counter(scan.verdict for scan in scans))}")  # fmt: skip


if __name__ == "__main__":
    main()
