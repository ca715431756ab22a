"""Several volumes under one series UID, classic and enhanced: each is a scan of its own that says which it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from medseg.errors import InputError
from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.spatial.geometry import Geometry
from sample_data.dicom_enhanced import Frames, write_enhanced
from sample_data.dicom_series import write_dicom_series
from tests.support.dicom_files import AXIAL, OBLIQUE, SHAPE, assert_same_world, copy, edit, move, phantom, write_axial
from tests.support.scans import grid_of


def second_volume(folder: Path, **elements) -> list[Path]:
    """Copies of all slices of the axial phantom, with other elements and the values 1 higher."""
    paths = []
    for path in sorted(folder.glob("IM*")):
        target = copy(path, f"b{path.name}", **elements)
        edit(target, RescaleIntercept="1")
        paths.append(target)
    return paths


def names(folder: Path) -> dict[str, str]:
    """The verdict of each scan by the end of its id."""
    return {"-".join(scan.id.split("-")[2:]): scan.verdict for scan in find_scans(folder)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {"TemporalPositionIdentifier": 2}, {"": "ok", "time1": "ok"}),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, {"time1": "ok", "time2": "ok"}),
        ({"EchoTime": "90"}, {"EchoTime": "9"}, {"echo1": "ok", "echo2": "ok"}),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, {"b0": "ok", "b1000": "ok"}),
        ({"NominalPercentageOfCardiacPhase": 40.0}, {"NominalPercentageOfCardiacPhase": 75.0},
         {"phase1": "ok", "phase2": "ok"}),
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, {"acquisition1": "ok", "acquisition2": "ok"}),
        ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}, {"kernelb30f": "ok", "kernelb70f": "ok"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
         {"m": "ok", "p": "ok"}),
    ],
)  # fmt: skip
def test_what_tells_volumes_apart_is_in_the_name(tmp_path, first, second, expected):
    for path in write_axial(tmp_path):
        edit(path, **first)
    seconds = set(second_volume(tmp_path, **second))
    assert names(tmp_path) == expected
    for scan in find_scans(tmp_path):
        is_second = set(scan.paths) == seconds
        assert is_second or not set(scan.paths) & seconds
        assert_same_world(scan.paths, phantom() + is_second, AXIAL)


@pytest.mark.parametrize(("group", "element"), [(0x0019, 0x0C), (0x0043, 0x39)])
def test_private_b_values(tmp_path, group, element):
    maker = {0x0019: "SIEMENS MR HEADER", 0x0043: "GEMS_PARM_01"}[group]
    values = {0x0019: ("IS", "0", "800"), 0x0043: ("IS", [0, 8, 0, 0], [1_000_000_800, 8, 0, 0])}[group]
    write_axial(tmp_path)
    second_volume(tmp_path)
    for path in tmp_path.iterdir():
        found = pydicom.dcmread(path)
        value = values[2] if path.name.startswith("b") else values[1]
        found.private_block(group, maker, create=True).add_new(element, values[0], value)
        found.save_as(path)
    assert names(tmp_path) == {"b0": "ok", "b800": "ok"}


@pytest.mark.parametrize("is_slice_by_slice", [False, True])
def test_volumes_known_by_the_order_of_their_images_only(tmp_path, is_slice_by_slice):
    for k, path in enumerate(write_axial(tmp_path)):
        edit(path, InstanceNumber=2 * k + 1 if is_slice_by_slice else k + 1)
    for k, path in enumerate(second_volume(tmp_path)):
        edit(path, InstanceNumber=2 * k + 2 if is_slice_by_slice else k + 9)
    assert names(tmp_path) == {"volume1": "ok", "volume2": "ok"}
    first, second = find_scans(tmp_path)
    assert_same_world(first.paths, phantom(), AXIAL)
    assert_same_world(second.paths, phantom() + 1, AXIAL)


def test_images_in_no_order_are_not_guessed(tmp_path):
    write_axial(tmp_path)
    second_volume(tmp_path)
    order = np.random.default_rng(1).permutation(16) + 1
    for number, path in zip(order, sorted(tmp_path.iterdir()), strict=True):
        edit(path, InstanceNumber=int(number))
    assert names(tmp_path) == {"": "several_volumes"}


def test_a_clock_does_not_split_volumes(tmp_path):
    for k, path in enumerate(write_axial(tmp_path)):
        edit(path, TriggerTime=f"{k % 2}", InstanceNumber=1)
    for k, path in enumerate(second_volume(tmp_path)):
        edit(path, TriggerTime=f"{k % 2}", InstanceNumber=1)
    assert names(tmp_path) == {"": "several_volumes"}


def test_an_incomplete_echo_is_refused_and_the_other_kept(tmp_path):
    write_axial(tmp_path)
    second_volume(tmp_path, EchoTime="90")[0].unlink()
    assert names(tmp_path) == {"echo1": "ok", "echo2": "missing_slices"}
    refused = next(scan for scan in find_scans(tmp_path) if not scan.is_ok)
    assert refused.reason.startswith("echo2 has 7 slices, its sister volumes 8")


def test_runs_over_different_lengths_are_both_kept(tmp_path):
    for path in write_axial(tmp_path):
        edit(path, AcquisitionNumber=1)
    for path in second_volume(tmp_path, AcquisitionNumber=2)[5:]:
        path.unlink()
    assert names(tmp_path) == {"acquisition1": "ok", "acquisition2": "ok"}
    assert sorted(grid_of(scan).shape[2] for scan in find_scans(tmp_path)) == [5, 8]


def test_planes_and_sizes_are_named(tmp_path):
    paths = write_axial(tmp_path)
    series = pydicom.dcmread(paths[0]).SeriesInstanceUID
    frame = pydicom.dcmread(paths[0]).FrameOfReferenceUID
    sagittal = np.array([[0, 0, -2.5, 10], [-0.8, 0, 0, 5], [0, -1.1, 0, 20], [0, 0, 0, 1]])
    for path in write_dicom_series((phantom(), sagittal), tmp_path / "b", series_number=2):
        edit(path, SeriesInstanceUID=series, FrameOfReferenceUID=frame)
    assert names(tmp_path) == {"axial": "ok", "sagittal": "ok"}
    for path in write_dicom_series((phantom((9, 9, 5)), AXIAL), tmp_path / "c", series_number=3):
        edit(path, SeriesInstanceUID=series, FrameOfReferenceUID=frame)
    assert names(tmp_path) == {"axial-12x10": "ok", "sagittal-12x10": "ok", "axial-9x9": "ok"}


DIALECTS = ("siemens", "philips", "canon")


def stored(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 2000, SHAPE).astype(np.int16)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_enhanced_volumes_are_right(tmp_path, dialect, modality):
    volumes = [Frames(stored(n), slope=1.5 + n, intercept=-100.0 * n, time=n + 1) for n in range(3)]
    path = write_enhanced(volumes, Geometry(SHAPE, OBLIQUE), tmp_path / "IM1", dialect=dialect, modality=modality)
    scans = find_scans(tmp_path)
    assert [scan.id.split("-")[-1] for scan in scans] == ["time1", "time2", "time3"]
    for scan, volume in zip(scans, volumes, strict=True):
        assert (scan.paths, len(scan.frames), scan.verdict) == ((path,), SHAPE[2], "ok")
        image = read_scan(scan)
        grid = grid_of(scan)
        assert Geometry.of(image).is_close(grid, 1e-6)
        source = Geometry(SHAPE, OBLIQUE)
        indices = np.argwhere(np.ones(SHAPE, bool))
        at = np.round(source.to_index(grid.to_world(indices))).astype(int)
        assert np.abs(source.to_world(at) - grid.to_world(indices)).max() < 1e-3
        expected = volume.stored[tuple(at.T)] * volume.slope + volume.intercept
        assert np.abs(image.as_tensor()[0].numpy()[tuple(indices.T)] - expected).max() < 1e-3


def test_enhanced_echoes_b_values_and_maps(tmp_path):
    volumes = [
        Frames(stored(0), b_value=0.0),
        Frames(stored(1), b_value=700.0),
        Frames(stored(2), b_value=700.0, echo_ms=80.0),
        Frames(stored(3), frame_type=("DERIVED", "PRIMARY", "ADC", "NONE")),
    ]
    write_enhanced(volumes, Geometry(SHAPE, AXIAL), tmp_path / "IM1", dialect="philips")
    found = {scan.id.split("-", 2)[2]: scan for scan in find_scans(tmp_path)}
    assert sorted(found) == ["derived-adc", "original-m-echo1-b0", "original-m-echo1-b700", "original-m-echo2"]
    for name, number in {"original-m-echo1-b700": 1, "original-m-echo2": 2, "derived-adc": 3}.items():
        assert sorted(np.unique(read_scan(found[name]))) == sorted(np.unique(volumes[number].stored))


def test_enhanced_volumes_spread_over_files(tmp_path):
    for n in range(2):
        path = write_enhanced([Frames(stored(n), time=n + 1)], Geometry(SHAPE, AXIAL), tmp_path / str(n))
        edit(path, SOPInstanceUID=uid.generate_uid(entropy_srcs=[str(n)]))
    scans = find_scans(tmp_path)
    assert [scan.paths for scan in scans] == [(tmp_path / "0",), (tmp_path / "1",)]
    for n, scan in enumerate(scans):
        assert sorted(np.unique(read_scan(scan))) == sorted(np.unique(stored(n)))


def test_enhanced_with_a_missing_frame_cut_or_changed(tmp_path):
    path = write_enhanced([Frames(stored(0))], Geometry(SHAPE, AXIAL), tmp_path / "IM1")
    (scan,) = find_scans(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert find_scans(tmp_path)[0].verdict == "truncated"
    found = pydicom.dcmread(path, force=True)
    del found.PerFrameFunctionalGroupsSequence[3]
    found.NumberOfFrames = SHAPE[2] - 1
    found.save_as(path)
    assert find_scans(tmp_path)[0].verdict == "missing_slices"
    with pytest.raises(InputError, match="found 7 frames, expected more than 7; the files have changed"):
        read_scan(scan)


def test_two_tilted_echoes_are_regridded(tmp_path):
    write_axial(tmp_path)
    for k, path in enumerate(second_volume(tmp_path, EchoTime="90")):
        move(path, [0.0, 0.3 * k, 0.0])
        move(tmp_path / f"IM{k + 1:04d}.dcm", [0.0, 0.3 * k, 0.0])
    assert set(names(tmp_path).values()) == {"gantry_tilt"}
    scans = find_scans(tmp_path, regrid=True)
    assert [scan.verdict for scan in scans] == ["ok", "ok"]
    first, second = (read_scan(scan).as_tensor() for scan in scans)
    assert float((second - first - 1).abs().max()) < 1e-3
