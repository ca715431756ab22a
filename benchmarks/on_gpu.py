"""What medseg has to reach on a GPU: training, a 1 mm brain, a large CT, and how much of the time the GPU computes.

``make bench-gpu``, or ``python -m benchmarks.on_gpu``. With ``--device cpu`` the same is run on tiny scans to show that
it works (a dry run); its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch

from benchmarks import large_ct, speed_stages, speed_training
from benchmarks.gpu_busy import Sampled, told
from benchmarks.large_ct import SHARED
from benchmarks.table import machine
from medseg.spatial.geometry import Geometry
from sample_data.benchmark_phantoms import mni_phantom
from sample_data.phantom import phantom

NO_GPU = (
    "PyTorch sees no CUDA device here, so nothing was measured; run this on a machine with a GPU and a CUDA build of "
    "PyTorch, or try it on a CPU with `make bench-gpu DEVICE=cpu`"
)
TRUNK = SHARED / "ct_trunk" / "example_ct.nii.gz"


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        turns, steps: of each training loop.
        workers: loader processes of the plain loops.
        ct: voxels of the large CT.
        brain, trunk: changes of the configs.
    """

    turns: int
    steps: int
    workers: tuple[int, ...]
    ct: tuple[int, int, int]
    brain: tuple[str, ...] = ()
    trunk: tuple[str, ...] = ()


FULL = Sizes(speed_training.N_TURNS, speed_training.STEPS, (0, 4), (512, 512, 458))
SMALL = ("training.patch_size=16", "autoencoder.channels=4")
TINY = Sizes(1, 2, (0,), (48, 48, 24), SMALL, (*SMALL, "preprocessing.spacing_mm=6", "autoencoder.context_steps=2"))


class Row(NamedTuple):
    """A line of the table."""

    what: str
    seen: str
    goal: str
    busy: float | None

    def __str__(self) -> str:
        return f"| {self.what} | {self.seen} | {self.goal} | {told(self.busy)} |"


def training(brain: tuple[Path, Path], device: str, sizes: Sizes) -> Row:
    """Steps a second of medseg and of the fastest plain MONAI loop, on the same device."""
    found = speed_training.measure(
        *brain, n_workers=sizes.workers, on=device, n_turns=sizes.turns, n_steps=sizes.steps, changes=sizes.brain
    )
    print(found.text, flush=True)
    seen = f"{found.own:.1f} steps a second, {found.own / found.plain:.2f} times the plain MONAI loop"
    return Row("training", seen, "10 times, 90 % busy", found.busy)


def one_brain(scan: Path, device: str) -> Row:
    """From the file to written outputs."""
    found = speed_stages.measure(scan, "brain_t1", device)
    print("\n".join(found.lines), flush=True)
    return Row("1 mm brain", f"{found.seconds:.1f} s", "2 s", found.busy)


def one_ct(source: Path, folder: Path, device: str, sizes: Sizes) -> Row:
    """From DICOM files to written outputs, in a process of its own."""
    large_ct.write_large(source, folder / "scans", sizes.ct, dicom=True)
    with Sampled(torch.device(device)) as sampled:
        found = large_ct.measure(source, folder, 12, device=device, changes=sizes.trunk)
    print(found, flush=True)
    name = "x".join(map(str, sizes.ct))
    return Row(f"{name} CT, K = 12", f"{found.seconds:.1f} s, {found.status}", "10 s", sampled.share)


def small_brain(folder: Path) -> tuple[Path, Path]:
    """A phantom of 4 mm and its mask."""
    image, labels = phantom(Geometry((35, 39, 33), np.diag([4.0, 4.0, 4.0, 1.0])), noise=8.0)
    paths = folder / "brain.nii.gz", folder / "mask.nii.gz"
    for path, voxels in zip(paths, (image.as_tensor()[0].numpy(), (labels > 0).astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(voxels, np.asarray(image.affine)), path)
    return paths


def small_trunk(folder: Path) -> Path:
    """Air, fat, muscle and bone in 4 mm."""
    i, j, _ = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (64, 48, 32)), indexing="ij")
    hu = np.select([(i / 4) ** 2 + ((j - 9) / 4) ** 2 < 1, (i / 23) ** 2 + (j / 15) ** 2 < 1,
                    (i / 26) ** 2 + (j / 18) ** 2 < 1], [500.0, 45.0, -100.0], -1000.0)  # fmt: skip
    hu += np.random.default_rng(0).normal(0, 12, hu.shape)
    nib.save(nib.Nifti1Image(hu.astype(np.int16), np.diag([4.0, 4.0, 4.0, 1.0])), folder / "trunk.nii.gz")
    return folder / "trunk.nii.gz"


def main(words: Sequence[str] | None = None) -> None:
    """Measure all of it and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a dry run")
    parser.add_argument("--source", type=Path, default=TRUNK, help="a CT of a trunk, as NIfTI")
    args = parser.parse_args(words)
    is_dry = not args.device.startswith("cuda")
    if not is_dry and not torch.cuda.is_available():
        raise SystemExit(NO_GPU)
    if not is_dry and not args.source.is_file():
        raise SystemExit(f"{args.source} is not there, expected a CT of a trunk as NIfTI; give one with --source")
    print(
        "dry run on tiny scans: no number below means anything" if is_dry else torch.cuda.get_device_name(args.device)
    )
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder, sizes = Path(name), TINY if is_dry else FULL
        image, mask = small_brain(folder) if is_dry else mni_phantom(folder, 9, 40, 0)
        rows = [
            training((image, mask), args.device, sizes),
            one_brain(image, args.device),
            one_ct(small_trunk(folder) if is_dry else args.source, folder, args.device, sizes),
        ]
    print("| what | seen | goal | busy |\n|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
