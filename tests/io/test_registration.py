"""Channels that a patient moved between come back, the same on every run, or are refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.spatial.transform import Rotation

from medseg import find_scans, load_config, read_scan
from medseg.cli.main import main
from medseg.config import ChannelsConfig
from medseg.errors import InputError
from medseg.io import registration, rigid
from medseg.io.alignment import Alignment
from medseg.io.channels import group_channels
from medseg.io.read import read_aligned
from medseg.io.registration import align, check_alignment
from medseg.io.rigid import foreground_points
from medseg.spatial.geometry import FloatArray, Geometry
from sample_data.dicom_series import write_dicom_series
from sample_data.two_channels import centred_grid, two_channels
from tests.support.cohorts import manifest
from tests.support.scans import shared, write_nifti

GRID = centred_grid(3.0)
REGISTERED = ChannelsConfig(names=("T1w", "FLAIR"), by="bids", register="rigid")


def motion(shift_mm: tuple[float, ...], angles_deg: tuple[float, ...]) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def moved(image: MetaTensor, matrix: FloatArray) -> MetaTensor:
    affine = matrix @ np.asarray(image.affine, dtype=np.float64)
    return MetaTensor(image.as_tensor(), affine=torch.from_numpy(affine))


def error_mm(found: Alignment, matrix: FloatArray, points: FloatArray) -> float:
    """Mean distance between where points of the first channel belong and where they come to lie."""
    left = np.asarray(found.matrix) @ matrix
    return float(np.linalg.norm(points @ left[:3, :3].T + left[:3, 3] - points, axis=1).mean())


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a phantom of 36 voxels along each axis."""
    monkeypatch.setattr(rigid, "SAMPLES", 8_000)


@pytest.fixture(scope="module")
def channels() -> tuple[MetaTensor, MetaTensor]:
    first, second = two_channels(GRID, noise=6.0)[0]
    return first, second


@pytest.mark.parametrize(
    ("shift", "angles"), [((0, 0, 0), (0, 0, 0)), ((12, 0, 0), (0, 0, 8)), ((-15, 10, 12), (-10, 8, 12))]
)
def test_a_moved_channel_comes_back_within_half_a_voxel(shift, angles, channels):
    first, second = channels
    matrix, points = motion(shift, angles), foreground_points(first)
    found = align(first, moved(second, matrix), 2)
    assert error_mm(found, matrix, points) < 0.5 * 3.0 / 2
    turned = np.degrees(Rotation.from_euler("xyz", angles, degrees=True).magnitude())
    assert found.rotation_deg == pytest.approx(turned, abs=1.5)
    assert found.overlap > 0.95
    assert found.disagreement_mm < 0.75
    assert found.information > found.information_before - 0.01
    back = found.apply(moved(second, matrix))
    assert np.abs(Geometry.of(back).to_world([[18, 18, 18]]) - GRID.to_world([[18, 18, 18]])).max() < 1.5
    assert torch.equal(back.as_tensor(), second.as_tensor())


def test_two_runs_give_the_same_numbers(channels):
    first, second = channels
    other = moved(second, motion((5, -4, 3), (3, 2, -4)))
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    one = align(first, other, 2)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads + 1)
    try:
        assert align(first, other, 2) == one
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads + 1
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def test_a_large_shift_between_two_frames_of_reference_is_no_motion(channels):
    first, second = channels
    matrix = motion((200, -90, 40), (0, 0, 5))
    found = align(first, moved(second, matrix), 2, is_one_frame=False)
    assert error_mm(found, matrix, foreground_points(first)) < 0.75
    assert found.shift_mm < 10
    with pytest.raises(InputError, match=r"found a motion of 2\d\d mm and 5 degrees of channel 2 .* at most 60 mm"):
        align(first, moved(second, matrix), 2)


GOOD = Alignment(channel=2, matrix=tuple(map(tuple, np.eye(4).tolist())), shift_mm=12.0, rotation_deg=8.0,
                 information_before=0.36, information=0.78, information_apart=0.24, overlap=1.0,
                 disagreement_mm=0.1)  # fmt: skip
LIMITS: dict[str, tuple[dict[str, float], int, str]] = {
    "steps": (
        {},
        rigid.STEPS,
        "channel 2 to the first one still moving after 300 steps, expected one that comes to rest",
    ),
    "starts": ({"disagreement_mm": 1.1}, 20, "ended 1.1 mm apart from two starts, expected at most 0.8 mm"),
    "less": ({"information": 0.3}, 20, "information of 0.30 after the registration .* 0.36 before, expected more than"),
    "peak": ({"information_apart": 0.76}, 20, "and 0.76 15 mm beside it, expected a peak of at least 0.03"),
    "overlap": ({"overlap": 0.4}, 20, "found 40 % of the first channel's foreground inside channel 2 .* at least 50 %"),
    "motion": ({"shift_mm": 77.0}, 20, "found a motion of 77 mm and 8 degrees of channel 2 .* at most 60 mm and 45"),
    "turn": ({"rotation_deg": 50.0}, 20, "found a motion of 12 mm and 50 degrees of channel 2"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_cannot_be_is_refused_with_its_numbers(name):
    values, n_steps, message = LIMITS[name]
    with pytest.raises(InputError, match=message) as refusal:
        check_alignment(replace(GOOD, **values), rigid.Moved(np.eye(4), n_steps), 0.75)  # type: ignore[arg-type]
    assert refusal.value.code == "not_aligned"
    assert "check that both are of one patient" in str(refusal.value)
    check_alignment(GOOD, rigid.Moved(np.eye(4), 20), 0.75)


def test_steps_that_are_used_up_are_noticed(channels, monkeypatch):
    monkeypatch.setattr(rigid, "STEPS", 1)
    with pytest.raises(InputError, match="still moving after 1 steps"):
        align(channels[0], channels[1], 2)


def test_channels_without_content_are_refused(channels):
    first, second = channels
    flat = torch.zeros_like(second.as_tensor())
    flat[0, 5, 5, 5] = 1
    with pytest.raises(InputError, match="one intensity nearly everywhere"):
        align(first, MetaTensor(flat, affine=second.affine), 2)


def test_noise_is_no_channel(channels):
    first, _ = channels
    noise = torch.from_numpy(np.random.default_rng(77).normal(100, 20, (1, *GRID.shape)).astype(np.float32))
    with pytest.raises(InputError) as refusal:
        align(first, MetaTensor(noise, affine=first.affine), 2)
    assert refusal.value.code == "not_aligned"


def write_pair(folder: Path, name: str, matrix: FloatArray, seed: int = 0) -> None:
    first, second = two_channels(GRID, noise=6.0, seed=seed, shift_mm=3.0 * seed)[0]
    write_nifti(first, folder / f"{name}_T1w.nii.gz")
    write_nifti(moved(second, matrix), folder / f"{name}_FLAIR.nii.gz")


def test_a_scan_of_registered_channels_is_read(tmp_path, monkeypatch):
    matrix = motion((12, 0, 0), (0, 0, 8))
    write_pair(tmp_path, "sub-1", matrix)
    (scan,) = group_channels(find_scans(tmp_path), REGISTERED)
    image, (found,) = read_aligned(scan)
    assert image.shape == (2, *GRID.shape)
    assert found.channel == 2
    still = two_channels(GRID, noise=0.0)[0][1].as_tensor()[0]
    apart = (image.as_tensor()[1] - still).abs().mean()
    (plain,) = group_channels(find_scans(tmp_path), ChannelsConfig(names=("T1w", "FLAIR"), by="bids"))
    assert apart < 0.4 * (read_scan(plain).as_tensor()[1] - still).abs().mean()
    assert read_aligned(plain)[1] == ()
    monkeypatch.setattr(registration, "align", None)  # the second reading of a fit knows the answer
    assert read_aligned(scan)[1] == (found,)


def test_series_without_a_common_frame_are_taken_when_they_are_registered(tmp_path):
    channels, _ = two_channels(centred_grid(6.0))
    for number, (channel, text) in enumerate(zip(channels, ("T1", "FLAIR"), strict=True)):
        write_dicom_series(channel, tmp_path / str(number), series_number=number, seed=1, description=text)
    first, second = find_scans(tmp_path)
    assert second.series is not None
    apart = [first, replace(second, series=second.series._replace(frame_of_reference="1.2.3"))]
    by = {"names": ("T1", "FLAIR"), "by": "series"}
    for register, modality, verdict in (("none", "MR", "no_common_frame"), ("rigid", "MR", "ok"),
                                        ("rigid", "CT", "mixed_modality")):  # fmt: skip
        scans = [apart[0], replace(apart[1], modality=modality)]
        grouped = group_channels(scans, ChannelsConfig.model_validate({**by, "register": register}))
        assert [scan.verdict for scan in grouped] == [verdict]


def test_a_run_keeps_the_transform_and_refuses_what_does_not_fit(tmp_path, capsys):
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_pair(scans, "sub-1", motion((6, 0, 0), (0, 0, 5)))
    write_pair(scans, "sub-2", np.eye(4), seed=1)
    flat = torch.zeros((1, *GRID.shape))
    flat[0, 5, 5] = torch.rand(GRID.shape[2])  # few, but enough not to be taken for labels
    write_nifti(MetaTensor(flat, affine=torch.tensor(GRID.affine)), scans / "sub-2_FLAIR.nii.gz")
    changes = ["channels.names=[T1w,FLAIR]", "channels.register=rigid", "training.max_steps=4",
               "clustering.method=cohort", "clustering.bias_sigma_mm=null"]  # fmt: skip
    settings = [word for change in changes for word in ("--set", change)]
    words = ["run", str(scans), "--out", str(out), "--config", "smoke", "--workers", "0", "--device", "cpu", "-v"]
    assert main([*words, *settings]) == 1
    rows = manifest(out)
    assert {name: row["status"] for name, row in rows.items()} == {"sub-1_T1w": "done", "sub-2_T1w": "refused"}
    assert rows["sub-2_T1w"]["reason"].startswith("not_aligned: ")
    records = [json.loads(path.read_text()) for path in (out / ".medseg").glob("*.json")]
    (kept,) = next(record["alignments"] for record in records if record["status"] == "done")
    points = foreground_points(two_channels(GRID)[0][0])
    assert error_mm(Alignment(**kept), motion((6, 0, 0), (0, 0, 5)), points) < 0.75
    assert kept["information"] > kept["information_before"] + 0.05
    assert "channel 2 moved by " in " ".join(capsys.readouterr().err.split())


def test_registration_is_off_unless_asked_for():
    assert load_config("brain_t1").channels.register == "none"
    changes = ["channels.names=[T1w,FLAIR]", "channels.register=rigid"]
    assert load_config("brain_t1", changes).channels.register == "rigid"


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("T1", "FLAIR"), ("T1", "T2")])
def test_a_moved_channel_of_a_real_patient_comes_back(first, second):
    images = [read_scan(shared(f"data/brain_ms/images/patient07_{kind}.nii.gz")) for kind in (first, second)]
    matrix = motion((12, 0, 0), (0, 0, 8))
    found = align(images[0], moved(images[1], matrix), 2)
    assert error_mm(found, matrix, foreground_points(images[0])) < 0.75  # voxels of 1.5 mm
