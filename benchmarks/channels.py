"""Several channels and ensembles on a phantom of which the truth is known: ``python -m benchmarks.channels``.

The phantom (`sample_data/two_channels.py`) has two regions of the same mean in the first channel. Two cases are fitted,
two others of another seed are scored: Dice of each region with the label matched to it one to one for the cohort.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.optimize import linear_sum_assignment

from medseg.clustering.ensemble import Ensemble
from medseg.config import Config
from medseg.config_files import load_config
from medseg.evaluation.overlap import adjusted_rand_index, confusion
from medseg.model.model import Model
from sample_data.two_channels import centred_grid, two_channels

NOISES = (20.0, 40.0)
N_MEMBERS = 3
SETTINGS = [
    *("training.max_steps=25", "training.patch_size=24", "autoencoder.channels=4", "clustering.n_clusters=3"),
    *("clustering.mrf_weight=0", "clustering.intensity_sigma_mm=0"),
    *("clustering.covariance_shrinkage=0.1", "cleanup.min_volume_mm3=0"),
]
Ints = npt.NDArray[np.integer]
Case = tuple[MetaTensor, npt.NDArray[np.uint8]]


def cases(noise: float, n_channels: int, seeds: tuple[int, ...]) -> list[Case]:
    """Images of one or both channels with their truths."""
    found = []
    for seed in seeds:
        channels, truth = two_channels(centred_grid(), noise=noise, seed=seed, shift_mm=2.0 * seed)
        voxels = torch.cat([channel.as_tensor() for channel in channels[:n_channels]])
        found.append((MetaTensor(voxels, affine=channels[0].affine), truth))
    return found


def settings(n_channels: int, *more: str) -> Config:
    """The config of a fit."""
    names = ["channels.names=[T1,FLAIR]"] if n_channels == 2 else []
    return load_config("generic", [*SETTINGS, *names, *more])


def cohort_dice(labels: Sequence[Ints], truths: Sequence[Ints]) -> npt.NDArray[np.float64]:
    """(3,) Dice of the regions, one to one for all cases together."""
    one, two = (np.concatenate([x.ravel() for x in part]) for part in (labels, truths))
    table = confusion(one, two, np.ones(one.shape, dtype=bool), 4, 4).astype(np.float64)
    dice = 2 * table / np.maximum(table.sum(1)[:, None] + table.sum(0)[None], 1)
    rows, columns = linear_sum_assignment(-dice[1:, 1:])
    return np.asarray(dice[1:, 1:][rows, columns][np.argsort(columns)])


def channels_table() -> list[str]:
    """Dice with one and with both channels."""
    lines = ["| noise (contrast 90 to 100) | one channel: regions 1, 2, 3 | both channels: regions 1, 2, 3 |",
             "|---|---|---|"]  # fmt: skip
    for noise in NOISES:
        cells = []
        for n_channels in (1, 2):
            scored = cases(noise, n_channels, (2, 3))
            fitted = [image for image, _ in cases(noise, n_channels, (0, 1))]
            model = Model.fit(fitted, settings(n_channels), device="cpu")
            dice = cohort_dice([model.segment(image).labels for image, _ in scored], [truth for _, truth in scored])
            cells.append(" ".join(f"{value:.3f}" for value in dice))
        lines.append(f"| {noise:.0f} | {cells[0]} | {cells[1]} |")
    return lines


def ensemble_table(noise: float = 40.0) -> list[str]:
    """Members against the consensus, and what the disagreement says about errors."""
    scored = cases(noise, 2, (2, 3))
    fitted = [image for image, _ in cases(noise, 2, (0, 1))]
    model = Model.fit(fitted, settings(2, f"training.ensemble={N_MEMBERS}"), device="cpu")
    if not isinstance(model.clusters, Ensemble):
        raise TypeError("expected an ensemble")
    results = [model.segment(image, outputs={"disagreement"}) for image, _ in scored]
    truths = [truth for _, truth in scored]
    consensus = [result.labels for result in results]
    lines = ["| labels of | Dice of the regions | ARI with the consensus |", "|---|---|---|"]
    lines.append(f"| consensus of {N_MEMBERS} | {_told(cohort_dice(consensus, truths))} | 1 |")
    for number, member in enumerate(model.clusters.members):
        alone = replace(model, network=member.network, clusters=Ensemble((member,)))
        labels = [alone.segment(image).labels for image, _ in scored]
        one, two = (np.concatenate([x.ravel() for x in part]) for part in (labels, consensus))
        ari = adjusted_rand_index(confusion(one, two, two > 0, 4, 4))
        lines.append(f"| member {number + 1} | {_told(cohort_dice(labels, truths))} | {ari:.3f} |")
    wrong = np.concatenate([(a != b)[b > 0] for a, b in zip(_in_order(consensus, truths), truths, strict=True)])
    shares = [r.disagreement[t > 0] for r, t in zip(results, truths, strict=True) if r.disagreement is not None]
    share = np.concatenate(shares)
    agreed, differ = wrong[share == 0], wrong[share > 0]
    lines += ["", f"all members agree on {100 * agreed.size / wrong.size:.1f} % of the voxels, of which "
              f"{100 * agreed.mean():.2f} % are wrong; of the others {100 * differ.mean():.1f} % are"]  # fmt: skip
    return lines


def _told(dice: npt.NDArray[np.float64]) -> str:
    return " ".join(f"{value:.3f}" for value in dice)


def _in_order(labels: Sequence[Ints], truths: Sequence[Ints]) -> list[Ints]:
    """The labels under the numbers of the regions that they are matched to."""
    one, two = (np.concatenate([x.ravel() for x in part]) for part in (labels, truths))
    table = confusion(one, two, np.ones(one.shape, dtype=bool), 4, 4)
    rows, columns = linear_sum_assignment(-table[1:, 1:])
    lookup = np.r_[0, columns[np.argsort(rows)] + 1]
    return [lookup[part] for part in labels]


def main() -> None:
    """Print both tables."""
    for table in (channels_table, ensemble_table):
        sys.stdout.write("\n".join(table()) + "\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
