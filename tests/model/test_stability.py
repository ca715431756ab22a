"""A label that each half of the cohort gives again is told to be stable, one that only some scans gave is not."""

from __future__ import annotations

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.errors import InputError
from medseg.model import stability
from medseg.model.summary import Summary
from sample_data.two_channels import centred_grid, two_channels

TINY = ["training.max_steps=10", "autoencoder.channels=4", "training.patch_size=24", "clustering.method=mixture",
        "clustering.n_clusters=3"]  # fmt: skip


def scan(seed: int, shift: float = 0.0) -> MetaTensor:
    """Two tissues; `shift` makes a third of half of the brighter one."""
    channels, truth = two_channels(centred_grid(), noise=4.0, seed=seed)
    voxels = channels[0].as_tensor().clone()
    place = torch.from_numpy(truth == 2)
    voxels[0][place] += shift
    return MetaTensor(voxels, affine=channels[0].affine)


def stabilities(scans: list[MetaTensor], *changes: str) -> list[float | None]:
    model = Model.fit(scans, load_config("generic", [*TINY, *changes]), device="cpu")
    return [label.stability for label in model.table]


def test_labels_that_every_scan_gives_are_stable_and_others_are_not():
    alike = stabilities([scan(0, -60.0), scan(1, -60.0)])
    assert min(value for value in alike if value is not None) > 0.9
    # The dark third is in the first scan only: the other half divides noise instead.
    unlike = stabilities([scan(0, -60.0), scan(1)])
    assert min(value for value in unlike if value is not None) < 0.75


@pytest.mark.parametrize(("n_scans", "changes"), [(1, ()), (2, ("clustering.method=per_scan",))])
def test_it_is_unknown_where_there_is_nothing_to_halve(n_scans, changes):
    assert stabilities([scan(n, -60.0) for n in range(n_scans)], *changes) == [None] * 3


def test_people_are_told_and_a_merged_label_is_unknown():
    model = Model.fit([scan(0, -60.0), scan(1, -60.0)], load_config("generic", TINY), device="cpu")
    told = Summary.of(model).text().splitlines()
    assert "found again in halves" in told[1]
    assert told[2].endswith(f"{model.table[1].stability:.2f}")
    assert model.relabelled(model.table, {2: 1}).table[1].stability is None


def test_it_is_unknown_where_a_half_is_no_sample():
    small = [
        MetaTensor(scan(n, -60.0).as_tensor()[:, 10:20, 12:22, 14:22].clone(), affine=scan(n).affine) for n in (0, 1)
    ]
    assert stabilities(small) == [None] * 3


def test_it_is_unknown_where_a_half_cannot_be_clustered(monkeypatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise InputError("found no soft tissue", code="no_tissue")

    monkeypatch.setattr(stability, "fit_clusters", refuse)
    assert stabilities([scan(0, -60.0), scan(1, -60.0)]) == [None] * 3
