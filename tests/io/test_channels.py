"""Which files are the channels of one scan, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import find_scans, load_config, read_scan, resample
from medseg.config import ChannelsConfig
from medseg.errors import ConfigError, InputError
from medseg.io.channels import covered_share, group_channels
from medseg.io.scan import Scan
from medseg.preprocessing.prepare import channels_of
from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from sample_data.two_channels import centred_grid, two_channels
from tests.support.scans import shared, write_nifti
from tests.support.two_channel_cases import BOTH, GRID, write_case


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


def dicom_study(folder: Path, *descriptions: str, seeds: tuple[int, int] = (1, 1)) -> list[Scan]:
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
    assert scan.series is not None
    assert scan.series.study not in repr(scan)
    (lone,) = group_channels(scans, ChannelsConfig(names=("T1*", "PD"), by="series"))
    assert lone.verdict == "missing_channel"


def test_dicom_series_without_a_common_frame_are_refused(tmp_path):
    first, second = dicom_study(tmp_path, "T1", "FLAIR")
    channels = ChannelsConfig(names=("T1", "FLAIR"), by="series")
    assert second.series is not None
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
