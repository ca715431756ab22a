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

from medseg.io.discovery import find_scans
from sample_data.dicom_series import write_dicom_series

SLICES = 100
KINDS = ("regular", "missing", "tilt", "regular", "localiser")
SERIES_UID = "1.2.826.0.1.3680043.8.498.10000000"


def make_tree(folder: Path, n_files: int) -> None:
    """Series of 100 slices of 64 x 64 pixels and 100 private elements, in folders of patients, without extensions."""
    templates = {kind: _template(kind) for kind in set(KINDS)}
    for number in range(n_files // SLICES):
        kind = KINDS[number % len(KINDS)]
        series = folder / f"patient{number // len(KINDS)}" / f"series{number % len(KINDS)}"
        series.mkdir(parents=True)
        series_uid = SERIES_UID[:-7] + f"{number:07d}"
        for k, content in enumerate(templates[kind]):
            (series / f"I{k}").write_bytes(content.replace(SERIES_UID.encode(), series_uid.encode()))
        if kind == "missing":
            (series / "I50").write_bytes(b"no DICOM at all")


def _template(kind: str) -> list[bytes]:
    """The files of one series."""
    voxels = np.random.default_rng(0).integers(-1000, 2000, (64, 64, SLICES)).astype(np.float64)
    contents = []
    with tempfile.TemporaryDirectory() as scratch:
        paths = write_dicom_series((voxels, np.diag([0.8, 0.8, 2.0, 1.0])), Path(scratch), modality="CT")
        for k, path in enumerate(paths):
            found = pydicom.dcmread(path)
            found.SeriesInstanceUID, found.SOPInstanceUID = SERIES_UID, f"{SERIES_UID}.{k}"
            found.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if kind == "localiser" else "AXIAL"]
            found.ImagePositionPatient = [0, 0.4 * k if kind == "tilt" else 0, 2 * k]
            private = found.private_block(0x0009, "MEDSEG BENCHMARK", create=True)
            for n in range(100):
                private.add_new(n, "LO", f"element {n} of a long private header")
            found.save_as(path)
            contents.append(path.read_bytes())
    return contents


def main() -> None:
    """Make the tree if needed, and time three passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--passes", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "tree"
        if not folder.exists():
            make_tree(folder, args.files)
        for _ in range(args.passes):
            wall, processor = time.perf_counter(), time.process_time()
            scans = find_scans(folder)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            print(f"{args.files} files: {wall:.1f} s, {processor:.1f} s of one core; "
                  f"{dict(Counter(scan.verdict for scan in scans))}")  # fmt: skip


if __name__ == "__main__":
    main()
