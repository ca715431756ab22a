"""Several channels: which files belong together, what is refused, and a phantom that needs the second channel."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import manifest
from conftest import shared, write_nifti
from medseg.pipelines.__main__ import main
from monai.data.meta_tensor import MetaTensor
from scipy.optimize import linear_sum_assignment

from medseg import Model, find_scans, load_config, read_scan, resample
from medseg.autoencoder import Autoencoder
from medseg.config import ChannelsConfig
from medseg.errors import ConfigError, InputError
from medseg.geometry import Geometry
from medseg.io.channels import covered_share, group_channels
from medseg.io.labels import read_labels
from medseg.mixture import spread_centres
from medseg.objective import loss
from medseg.preprocessing import channels_of
from sample_data.dicom_series import write_dicom_series
from sample_data.two_channels import centred_grid, two_channels

GRID = centred_grid()
BOTH = ChannelsConfig(names=("T1w", "FLAIR"), by="bids")
TINY = ["training.max_steps=25", "training.patch_size=24", "autoencoder.channels=4", "clustering.n_clusters=3",
        "clustering.max_samples=6000", "clustering.texture=0", "clustering.smoothness=0", "clustering.intensity_mm=0",
        "clustering.shared_covariance=0.1"]  # fmt: skip
NAMED = ["channels.names=[T1w,FLAIR]"]


def stacked(channels: list[MetaTensor]) -> MetaTensor:
    return MetaTensor(torch.cat([x.as_tensor() for x in channels]), affine=channels[0].affine)


def write_case(folder: Path, *stems: str, seed: int = 0, grid: Geometry = GRID) -> np.ndarray:
    """Channel n of the phantom as file n; returns the truth."""
    channels, truth = two_channels(grid, seed=seed, shift_mm=3.0 * seed)
    for stem, channel in zip(stems, channels, strict=False):
        write_nifti(channel, folder / f"{stem}.nii.gz")
    return truth


def dice(labels: np.ndarray, truth: np.ndarray, n: int = 3) -> np.ndarray:
    """Dice of each region of the truth with the label that is matched to it one to one."""
    table = np.array([[2 * ((labels == a) & (truth == b)).sum() / ((labels == a).sum() + (truth == b).sum() or 1)
                       for b in range(1, n + 1)] for a in range(1, n + 1)])  # fmt: skip
    rows, columns = linear_sum_assignment(-table)
    return table[rows, columns][np.argsort(columns)]


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
    from medseg.anomaly import anomaly_of

    image = stacked(cohort[0][0])
    result = model.segment(image, confidence=True, fractions=True, finest=True)
    inside = result.labels > 0
    assert result.confidence is not None
    assert result.fractions is not None
    assert np.median(result.confidence[inside]) > 200
    assert (sum(result.fractions[n].astype(int) for n in result.fractions)[inside] == 255).all()
    odd = anomaly_of(model, image).as_tensor()
    assert odd.shape == (1, *GRID.shape)
    assert bool(torch.isfinite(odd).all())
    assert np.isfinite(list(result.quality.values())).all()


@pytest.mark.slow
def test_tissues_of_each_scan_are_those_of_the_first_channel(cohort):
    config = load_config(
        "smoke", [*NAMED, "training.max_steps=10", "clustering.n_clusters=2", "clustering.bias_mm=null"]
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


@pytest.mark.parametrize(
    ("by", "files", "names", "scan_id"),
    [
        ("bids", ("sub-1_acq-a_run-1_T1w", "sub-1_acq-b_run-1_FLAIR"), ("T1w", "FLAIR"), "sub-1_acq-a_run-1_T1w"),
        ("suffix", ("case-T1", "case-T1ce"), ("T1", "T1ce"), "case-T1"),
        ("suffix", ("x_T1", "x_Gd_T1"), ("T1", "Gd_T1"), "x_T1"),
        ("nnunet", ("case_0000", "case_0001"), ("T1", "FLAIR"), "case"),
    ],
)
def test_files_of_one_case_are_found(tmp_path, by, files, names, scan_id):
    write_case(tmp_path / "a", *files)
    write_nifti(two_channels(GRID)[0][0], tmp_path / "a" / "something_else.nii.gz")
    found = group_channels(find_scans(tmp_path), ChannelsConfig(names=names, by=by))
    assert [(scan.id, scan.verdict) for scan in found] == [(f"a/{scan_id}", "ok")]
    assert [path.name for path in found[0].all_paths] == [f"{name}.nii.gz" for name in files]
    assert read_scan(found[0]).shape == (2, *GRID.shape)
    scans = find_scans(tmp_path)
    assert group_channels(scans, ChannelsConfig()) == scans


def test_bids_runs_and_sessions_stay_apart(tmp_path):
    for ses in ("a", "b"):
        for run in (1, 2):
            stem = f"sub-1_ses-{ses}_run-{run}"
            write_case(tmp_path / "sub-1" / f"ses-{ses}" / "anat", f"{stem}_T1w", f"{stem}_FLAIR")
    found = group_channels(find_scans(tmp_path), BOTH)
    assert len(found) == 4
    for scan in found:
        assert scan.more_channels[0].id == scan.id.replace("T1w", "FLAIR")


def test_a_channel_on_its_own_grid_comes_onto_the_first(tmp_path):
    channels, _ = two_channels(GRID, noise=0)
    fine = centred_grid(2.0)
    other = two_channels(fine, noise=0)[0][1]
    write_nifti(channels[0], tmp_path / "sub-1_T1w.nii.gz")
    write_nifti(other, tmp_path / "sub-1_FLAIR.nii.gz")
    (scan,) = group_channels(find_scans(tmp_path), BOTH)
    image = read_scan(scan)
    assert Geometry.of(image).is_close(GRID)
    assert torch.equal(
        channels_of(image)[1].as_tensor(), resample(read_scan(tmp_path / "sub-1_FLAIR.nii.gz"), GRID).as_tensor()
    )
    difference = (channels_of(image)[1].as_tensor() - channels[1].as_tensor()).abs()
    assert float(difference.median()) == 0
    assert float(difference.mean()) < 6


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        (["sub-1_T1w"], "missing_channel", "found channel T1w, expected T1w, FLAIR; add FLAIR or leave"),
        (["sub-1_FLAIR"], "missing_channel", "found channel FLAIR, .*; add T1w"),
        (["sub-1_acq-a_T1w", "sub-1_FLAIR", "sub-1_acq-b_T1w"], "ambiguous_channel", "found 2 scans for channel T1w"),
    ],
)
def test_incomplete_and_ambiguous_cases_are_refused(tmp_path, files, code, message):
    image = two_channels(GRID)[0][0]
    for name in files:
        write_nifti(image, tmp_path / f"{name}.nii.gz")
    (scan,) = group_channels(find_scans(tmp_path), BOTH)
    assert scan.verdict == code
    with pytest.raises(InputError, match=message):
        read_scan(scan)


def test_channels_that_lie_apart_are_refused(tmp_path):
    (first, second), _ = two_channels(GRID)
    affine = second.affine.clone()
    affine[0, 3] += 80.0
    write_nifti(first, tmp_path / "sub-1_T1w.nii.gz")
    write_nifti(MetaTensor(second.as_tensor(), affine=affine), tmp_path / "sub-1_FLAIR.nii.gz")
    (scan,) = group_channels(find_scans(tmp_path), BOTH)
    assert scan.verdict == "no_common_frame"
    assert "FLAIR covers 2" in scan.reason
    assert covered_share(GRID, GRID) == 1


def test_a_bad_channel_refuses_its_case(tmp_path):
    write_case(tmp_path, "sub-1_T1w", "sub-1_FLAIR")
    (tmp_path / "sub-1_FLAIR.nii.gz").write_bytes(b"no image")
    (scan,) = group_channels(find_scans(tmp_path), BOTH)
    assert (scan.verdict, scan.reason.startswith("channel FLAIR: ")) == ("corrupt_file", True)


def dicom_study(folder: Path, *descriptions: str, seeds: tuple[int, int] = (1, 1)) -> list:
    channels, _ = two_channels(centred_grid(6.0))
    for number, (channel, text) in enumerate(zip(channels, descriptions, strict=True)):
        write_dicom_series(channel, folder / str(number), series_number=number, seed=seeds[number], description=text)
    return find_scans(folder)


def test_dicom_series_of_one_study_by_description(tmp_path):
    scans = dicom_study(tmp_path, "t1 MPRAGE sag", "T2 FLAIR")
    (scan,) = group_channels(scans, ChannelsConfig(names=("T1*", "*flair*"), by="series"))
    assert scan.is_ok
    assert scan.id.startswith("mr0-")
    assert read_scan(scan).shape[0] == 2
    assert scan.series.study not in repr(scan)
    (lone,) = group_channels(scans, ChannelsConfig(names=("T1*", "PD"), by="series"))
    assert lone.verdict == "missing_channel"


def test_dicom_series_without_a_common_frame_are_refused(tmp_path):
    first, second = dicom_study(tmp_path, "T1", "FLAIR")
    channels = ChannelsConfig(names=("T1", "FLAIR"), by="series")
    apart = [first, replace(second, series=second.series._replace(frame_of_reference="1.2.3"))]
    (scan,) = group_channels(apart, channels)
    assert scan.verdict == "no_common_frame"
    (scan,) = group_channels([first, replace(second, modality="CT")], channels)
    assert scan.verdict == "mixed_modality"
    other_study = replace(second, series=second.series._replace(study="1.2.3"))
    assert [x.verdict for x in group_channels([first, other_study], channels)] == ["missing_channel"] * 2
    damaged = replace(first, id="damaged", verdict="corrupt_file", reason="no header", series=None)
    assert "damaged" in [x.id for x in group_channels([first, second, damaged], channels)]


def test_channels_of_a_real_study():
    scans = find_scans(shared("data/dicom/study"))
    found = group_channels(scans, ChannelsConfig(names=("T1*", "*FLAIR*"), by="series"))
    assert [(scan.verdict, len(scan.more_channels)) for scan in found] == [("ok", 1)]
    image = read_scan(found[0])
    assert torch.equal(image.as_tensor()[0], read_scan(next(x for x in scans if x.id == found[0].id)).as_tensor()[0])
    assert not torch.equal(image.as_tensor()[0], image.as_tensor()[1])


@pytest.mark.parametrize("names", ["[T1w]", "[T1w,t1W]", "[T1w,'']"])
def test_wrong_names_of_channels_are_refused(names):
    with pytest.raises(ConfigError, match=r"channels: .*two or more different"):
        load_config("smoke", [f"channels.names={names}"])


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
