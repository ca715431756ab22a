"""Habitats against planted ones: ``python -m benchmarks.habitats``.

Twelve cases with a ball of some five hundred voxels in which three habitats lie in layers; every fourth case lacks the
bright one. The command clusters inside the balls over the whole cohort, once with as many clusters as there are
habitats and once with two too many. Dice of each planted habitat over all cases, with the cluster that overlaps it
most; and what the table of stability says of every cluster.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medseg.io.label_volumes import read_labels
from sample_data.habitats import case, truth

LEVELS = (50.0, 130.0, 210.0)
N_CASES = 12
Labels = npt.NDArray[np.integer]


def parts_of(number: int) -> tuple[float, ...]:
    """The habitats of a case."""
    return LEVELS[:2] if number % 4 == 3 else LEVELS


def write_cases(folder: Path) -> None:
    """Scans and their regions."""
    for number in range(N_CASES):
        for image, kind in zip(case(parts_of(number), number), ("scans", "regions"), strict=True):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nib.save(
                nib.Nifti1Image(image.numpy()[0], image.affine.numpy()), folder / kind / f"case{number:02d}.nii.gz"
            )


def run(folder: Path, n_clusters: int) -> tuple[Path, list[dict[str, str]]]:
    """Cluster inside the regions; the output folder, and the table of stability."""
    out = folder / f"out{n_clusters}"
    words = ["run", folder / "scans", "--masks", folder / "regions", "--out", out, "--config", "habitats",
             "--set", f"clustering.n_clusters={n_clusters}"]  # fmt: skip
    subprocess.run([sys.executable, "-m", "medseg", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    with (out / "habitats_stability.csv").open() as file:
        return out, list(csv.DictReader(file))


def dice_of_planted(out: Path, n_clusters: int) -> list[float]:
    """Dice of each planted habitat with the cluster that overlaps it most, over all cases together."""
    both = np.zeros((len(LEVELS) + 1, n_clusters + 1))
    for number in range(N_CASES):
        labels, _ = read_labels(out / f"case{number:02d}_seg.nii.gz")
        np.add.at(both, (truth(parts_of(number)), labels), 1)
    planted, found = both.sum(axis=1)[1:], both.sum(axis=0)[1:]
    dice = 2 * both[1:, 1:] / (planted[:, None] + found[None])
    return [float(row.max()) for row in dice]


def main() -> None:
    """Print the table."""
    print("| clusters | Dice of the planted habitats | cluster: share, Jaccard over seeds, over cases, verdict |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        write_cases(Path(name))
        for n_clusters in (len(LEVELS), len(LEVELS) + 2):
            out, stability = run(Path(name), n_clusters)
            dice = " ".join(f"{value:.3f}" for value in dice_of_planted(out, n_clusters))
            told = "; ".join(
                f"{row['habitat']}: {float(row['share']):.2f}, {row['jaccard_over_seeds']}, "
                f"{row['jaccard_over_cases']}, {row['verdict']}"
                for row in stability
            )
            print(f"| {n_clusters} | {dice} | {told} |", flush=True)


if __name__ == "__main__":
    main()
