"""Seconds and peak memory of a large CT, from files to written labels, by the number of labels.

``python -m benchmarks.large_ct --slices 824 --labels 4 24``: the real CT of the trunk is interpolated to 512x512 with
noise of its own on every voxel; a model is fitted to the CT as it came, on a working grid of 1.5 mm.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

from sample_data.dicom_series import write_dicom_series

SHARED = Path(__file__).parents[2] / "shared" / "data"
NOISE_HU = 12.0


class Seen(NamedTuple):
    """What the manifest says of the scan."""

    n_labels: int
    status: str
    seconds: float
    peak_mb: float

    def __str__(self) -> str:
        return f"K = {self.n_labels}: {self.status}, {self.seconds} s, {self.peak_mb} MB"


def write_large(source: Path, folder: Path, shape: tuple[int, int, int], *, dicom: bool) -> None:
    """The CT in so many voxels, as NIfTI or as a DICOM series."""
    image = nib.Nifti1Image.from_filename(source)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    zoom = np.array(shape) / voxels.shape
    fine = ndimage.zoom(voxels, zoom, order=1, mode="nearest", grid_mode=True)
    fine += np.random.default_rng(0).normal(0, NOISE_HU, fine.shape).astype(np.float32)
    stored = np.clip(np.rint(fine), -1024, 3071).astype(np.int16)
    affine = image.affine @ np.diag([*(1 / zoom), 1.0])
    if dicom:
        write_dicom_series((stored, affine), folder / "ct", modality="CT")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(stored, affine), folder / "ct.nii.gz")


def medseg(*words: object) -> None:
    """Run the command; its progress is shown."""
    subprocess.run([sys.executable, "-m", "medseg", *map(str, words)], check=True)


def measure(source: Path, folder: Path, n_labels: int, *, device: str = "auto", changes: Sequence[str] = ()) -> Seen:
    """Fit, segment in one worker, and what the manifest says of it."""
    changes = [f"clustering.n_clusters={n_labels}", "training.max_steps=10", "autoencoder.context_steps=10",
               "preprocessing.spacing_mm=1.5", *changes]  # fmt: skip
    model, out, where = folder / f"model{n_labels}", folder / f"out{n_labels}", ("--device", device)
    settings = [word for change in changes for word in ("--set", change)]
    medseg("train", source, "--model", model, "--config", "body_ct", *where, *settings)
    medseg("segment", folder / "scans", "--model", model, "--out", out, "--workers", 1, *where)
    with (out / "manifest.csv").open() as file:
        (row,) = csv.DictReader(file)
    return Seen(n_labels, row["status"], float(row["seconds"]), float(row["peak_memory_mb"]))


def main() -> None:
    """Measure for every number of labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=458)
    parser.add_argument("--labels", type=int, nargs="+", default=[12])
    parser.add_argument("--dicom", action="store_true", help="from a DICOM series instead of NIfTI")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--source", type=Path, default=SHARED / "ct_trunk" / "example_ct.nii.gz")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_large(args.source, folder / "scans", (512, 512, args.slices), dicom=args.dicom)
        for n_labels in args.labels:
            print(f"512x512x{args.slices}, {measure(args.source, folder, n_labels, device=args.device)}", flush=True)


if __name__ == "__main__":
    main()
