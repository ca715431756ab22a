"""Several channels: a phantom that needs the second one."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.optimize import linear_sum_assignment

from medseg import Model, load_config
from medseg.cli.main import main
from medseg.clustering.mixture import spread_centres
from medseg.errors import InputError
from medseg.io.label_volumes import read_labels
from medseg.network.autoencoder import Autoencoder
from medseg.network.loss import loss
from sample_data.two_channels import two_channels
from tests.support.cohorts import manifest
from tests.support.scans import write_nifti
from tests.support.two_channel_cases import GRID, write_case

TINY = ["training.max_steps=25", "training.patch_size=24", "autoencoder.channels=4", "clustering.n_clusters=3",
        "clustering.max_samples=6000", "clustering.mrf_weight=0",
        "clustering.intensity_sigma_mm=0", "clustering.covariance_shrinkage=0.1"]  # fmt: skip
NAMED = ["channels.names=[T1w,FLAIR]"]


def stacked(channels: list[MetaTensor]) -> MetaTensor:
    return MetaTensor(torch.cat([x.as_tensor() for x in channels]), affine=channels[0].affine)


def dice(labels: np.ndarray, truth: np.ndarray, n: int = 3) -> np.ndarray:
    """Dice of each region of the truth with the label that is matched to it one to one."""
    table = np.array([[2 * ((labels == a) & (truth == b)).sum() / ((labels == a).sum() + (truth == b).sum() or 1)
                       for b in range(1, n + 1)] for a in range(1, n + 1)])  # fmt: skip
    rows, columns = linear_sum_assignment(-table)
    return np.asarray(table[rows, columns][np.argsort(columns)])


@pytest.fixture(scope="module")
def cohort():
    return [two_channels(GRID, noise=20.0, seed=seed, shift_mm=3.0 * seed) for seed in range(2)]


@pytest.fixture(scope="module")
def model(cohort) -> Model:
    return Model.fit(
        [stacked(channels) for channels, _ in cohort], load_config("generic", [*TINY, *NAMED]), device="cpu"
    )


def test_two_regions_of_one_mean_need_the_second_channel(cohort, model):
    both = [dice(model.segment(stacked(channels)).labels, truth) for channels, truth in cohort]
    assert np.min(both) >= 0.9
    single = Model.fit([channels[0] for channels, _ in cohort], load_config("generic", TINY), device="cpu")
    one = [dice(single.segment(channels[0]).labels, truth) for channels, truth in cohort]
    assert max(found[:2].min() for found in one) < 0.6  # the darker two cannot both be found


def test_a_model_remembers_its_channels_and_refuses_others(cohort, model, tmp_path):
    model.save(tmp_path / "model")
    known = Model.load(tmp_path / "model", device="cpu")
    image = stacked(cohort[0][0])
    assert known.config.channels.names == ("T1w", "FLAIR")
    assert known.fingerprint == model.fingerprint
    assert np.array_equal(known.segment(image).labels, model.segment(image).labels)
    other = replace(model, config=load_config("generic", [*TINY, "channels.names=[T1w,T2w]"]))
    assert other.fingerprint != model.fingerprint
    with pytest.raises(InputError, match=r"has 1 channels, expected 2 \(T1w, FLAIR\)") as refusal:
        known.segment(cohort[0][0][0])
    assert refusal.value.code == "other_channels"
    with pytest.raises(InputError, match="none of the scans"):
        Model.fit([image], load_config("generic", TINY), device="cpu")


def test_confidence_fractions_leaves_and_anomaly_work_with_channels(cohort, model):
    from medseg.model.segment import anomaly_of

    image = stacked(cohort[0][0])
    result = model.segment(image, outputs={"confidence", "fractions", "finest"})
    inside = result.labels > 0
    assert result.confidence is not None
    assert result.fractions is not None
    assert np.median(result.confidence[inside]) > 200
    assert (sum(result.fractions[n].astype(int) for n in result.fractions)[inside] == 255).all()
    odd = anomaly_of(model, image).as_tensor()
    assert odd.shape == (1, *GRID.shape)
    assert bool(torch.isfinite(odd).all())
    assert np.isfinite(list(result.quality.as_columns().values())).all()


@pytest.mark.slow
def test_tissues_of_each_scan_are_those_of_the_first_channel(cohort):
    config = load_config(
        "smoke", [*NAMED, "training.max_steps=10", "clustering.n_clusters=2", "clustering.bias_sigma_mm=null"]
    )
    image = stacked(cohort[0][0])
    labels = Model.fit([image], config, device="cpu").segment(image).labels
    truth = cohort[0][1]
    bright = 2 * ((labels == 2) & (truth == 3)).sum() / ((labels == 2).sum() + (truth == 3).sum())
    assert bright > 0.9


def test_the_network_sees_neither_channel_of_a_voxel():
    torch.manual_seed(0)
    network = Autoencoder(load_config("smoke").autoencoder, 4, 2).eval()
    x = torch.rand(1, 3, 16, 16, 16, requires_grad=True)
    place = (5 * 16 + 6) * 16 + 7
    network(x)[place].sum().backward()
    assert x.grad is not None
    assert float(x.grad[0, :2, 5, 6, 7].abs().max()) == 0
    assert float(x.grad[0, 0].abs().max()) > 0
    assert float(x.grad[0, 1].abs().max()) > 0


def test_the_loss_is_the_log_density_of_both_channels():
    torch.manual_seed(0)
    network = Autoencoder(load_config("smoke").autoencoder, 4, 2).eval()
    rows = torch.randn(500, 2) * torch.tensor([3.0, 5.0]) + 7
    network.start_from(rows, [0.1, 0.2], lambda standard: spread_centres(standard, 6))
    patches, inside = torch.randn(1, 2, 8, 8, 8) * 4 + 7, torch.ones(1, 1, 8, 8, 8)
    standard = (patches - network.centre.view(1, 2, 1, 1, 1)) / network.scale.view(1, 2, 1, 1, 1)
    prior = network(torch.cat([standard, inside], dim=1))
    means, sds = network.components()
    rows = standard[0].flatten(1).T
    density = torch.distributions.Normal(means, sds).log_prob(rows[:, None]).sum(dim=2) + np.log(2 * np.pi)
    expected = -torch.logsumexp(prior + density, dim=1).mean()
    assert loss(network, patches, inside, torch.Generator()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_habitats_of_two_channels(tmp_path):
    for number in range(2):
        truth = write_case(tmp_path / "scans", f"c{number}_T1", f"c{number}_T1ce", seed=number)
        region = MetaTensor(torch.from_numpy(truth[None] > 0).float(), affine=torch.tensor(GRID.affine))
        write_nifti(region, tmp_path / "regions" / f"c{number}_T1.nii.gz")
    changes = [*TINY, "channels.names=[T1,T1ce]", "channels.by=suffix", "training.max_steps=8", "habitats.n_seeds=0",
               "habitats.n_bootstraps=2"]  # fmt: skip
    words = [
        "run",
        tmp_path / "scans",
        "--masks",
        tmp_path / "regions",
        "--out",
        tmp_path / "out",
        "--config",
        "habitats",
    ]
    settings = [word for change in changes for word in ("--set", change)]
    assert main([*map(str, words), *settings, "--workers", "0", "--device", "cpu"]) == 0
    with (tmp_path / "out" / "habitats.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scan"] for row in rows] == ["c0_T1", "c1_T1"]
    for row in rows:
        means = sorted(
            (round(float(row[f"h{n}_mean"]), -1), round(float(row[f"h{n}_mean_T1ce"]), -1)) for n in (1, 2, 3)
        )
        assert means == [(100, 60), (100, 160), (190, 110)]
        assert sum(float(row[f"h{n}_fraction"]) for n in (1, 2, 3)) == pytest.approx(1, abs=1e-4)
        assert 0 < float(row["h1_mean_common_T1ce"]) < 1


def test_a_run_with_two_channels(tmp_path, capsys):
    scans, out = tmp_path / "scans", tmp_path / "out"
    truth = write_case(scans, "a_0000", "a_0001")
    write_case(scans, "b_0000")
    changes = [*TINY, "channels.names=[T1,FLAIR]", "channels.by=nnunet"]
    settings = [word for change in changes for word in ("--set", change)]
    code = main(["run", str(scans), "--out", str(out), "--workers", "0", "--device", "cpu", "--write",
                 "nifti,mrb", *settings])  # fmt: skip
    assert code == 1
    rows = manifest(out)
    assert (rows["a"]["status"], rows["b"]["status"]) == ("done", "refused")
    assert "missing_channel" in rows["b"]["reason"]
    assert dice(read_labels(out / "a_seg.nii.gz")[0], truth).min() > 0.9
    assert "1 complete scans out of 3 files" in capsys.readouterr().err
    again = ["segment", str(scans), "--model", str(out / "model"), "--out", str(out), "--workers", "0", "--write",
             "nifti,mrb"]  # fmt: skip
    before = (out / "a_seg.nii.gz").stat().st_mtime_ns
    assert main(again) == 1
    assert (out / "a_seg.nii.gz").stat().st_mtime_ns == before
    write_nifti(two_channels(GRID, seed=9)[0][1], scans / "a_0001.nii.gz")
    assert main(again) == 1
    assert (out / "a_seg.nii.gz").stat().st_mtime_ns != before
    (scans / "a_0001.nii.gz").unlink()
    for name in ("a_0000", "b_0000"):
        (scans / f"{name}.nii.gz").rename(scans / f"{name[0]}_T1.nii.gz")
    assert main(["segment", str(scans), "--model", str(out / "model"), "--out", str(tmp_path / "o2")]) == 2
    assert "no file of the channels T1, FLAIR" in "".join(capsys.readouterr())
