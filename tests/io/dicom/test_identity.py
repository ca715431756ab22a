"""What belongs together: one UID for two series, none, one for each slice, copies that are none, derived images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid

from medseg.io.discovery import find_scans
from tests.support.dicom_files import (
    ALONG,
    AXIAL,
    assert_same_world,
    cut,
    edit,
    move,
    phantom,
    read,
    the_scan,
    write_axial,
)

Change = dict[str, Any]
ADJOINING, INTERLEAVED, SAME = 8 * 2.5, 1.25, 0.0


def two_series(
    folder: Path, offset_mm: float, first: Change, second: Change, *, together: bool
) -> tuple[list[Path], list[Path]]:
    """Two series of eight slices each, the second with values 1 higher, `offset_mm` further along."""
    parts = []
    for number, changes in enumerate((first, second)):
        place = folder if together else folder / f"{number}"
        place.mkdir(exist_ok=True)
        (folder / "new").mkdir()
        paths = []
        for k, path in enumerate(write_axial(folder / "new")):
            moved = move(path, number * offset_mm * ALONG)
            own = {"SOPInstanceUID": f"1.2.{number}.{k}", "RescaleIntercept": f"{number}"}
            paths.append(edit(moved, **own, **changes).rename(place / f"{number}-{path.name}"))
        (folder / "new").rmdir()
        parts.append(paths)
    return parts[0], parts[1]


def assert_both_right(folder: Path, parts: tuple[list[Path], list[Path]], offset_mm: float) -> None:
    scans = find_scans(folder)
    assert [scan.verdict for scan in scans] == ["ok", "ok"], [scan.reason for scan in scans]
    assert len({scan.id for scan in scans}) == 2
    affine = AXIAL.copy()
    affine[2, 3] += offset_mm
    for scan in scans:
        number = int(set(scan.paths) == set(parts[1]))
        assert set(scan.paths) == set(parts[number])
        assert_same_world(scan.paths, phantom() + number, affine if number else AXIAL)


PEOPLE: dict[str, tuple[Change, Change]] = {
    "patient": ({"PatientID": "A"}, {"PatientID": "B"}),
    "name only": ({"PatientID": "", "PatientName": "A^B"}, {"PatientID": "", "PatientName": "C^D"}),
    "birth date only": ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19600101"}),
    "study": ({"StudyInstanceUID": "1.2.3"}, {"StudyInstanceUID": "1.2.4"}),
    "both": ({"StudyInstanceUID": "1.2.3", "PatientID": "A"}, {"StudyInstanceUID": "1.2.4", "PatientID": "B"}),
}


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("offset_mm", [ADJOINING, INTERLEAVED])
@pytest.mark.parametrize("together", [False, True])
def test_one_series_uid_of_two_patients_or_studies(tmp_path, name, offset_mm, together):
    parts = two_series(tmp_path, offset_mm, *PEOPLE[name], together=together)
    assert_both_right(tmp_path, parts, offset_mm)


@pytest.mark.parametrize("offset_mm", [ADJOINING, INTERLEAVED])
def test_one_uid_numbered_anew_in_each_folder(tmp_path, offset_mm):
    assert_both_right(tmp_path, two_series(tmp_path, offset_mm, {}, {}, together=False), offset_mm)


def renumber(paths: list[Path], start: int | None) -> None:
    for k, path in enumerate(paths):
        edit(path, InstanceNumber=None if start is None else start + k)


@pytest.mark.parametrize(("start", "offset_mm"), [(9, INTERLEAVED), (None, INTERLEAVED), (None, ADJOINING)])
def test_folders_that_may_be_two_series_are_refused(tmp_path, start, offset_mm):
    first, second = two_series(tmp_path, offset_mm, {}, {}, together=False)
    renumber(second, start)
    if start is None:
        renumber(first, start)
    scan = the_scan(tmp_path)
    assert scan.verdict == "several_volumes"
    assert scan.reason.startswith("2 folders hold a regular volume each under one SeriesInstanceUID")
    assert str(tmp_path) not in scan.reason


def test_a_series_that_goes_on_in_the_next_folder_is_one(tmp_path):
    _, second = two_series(tmp_path, ADJOINING, {}, {}, together=False)
    renumber(second, 9)
    scan = the_scan(tmp_path)
    assert scan.is_ok, scan.reason
    assert read(scan.paths)[0].shape[2] == 16


def test_a_series_in_folders_of_single_files_is_one(tmp_path):
    for k, path in enumerate(write_axial(tmp_path)):
        (tmp_path / f"{k % 4}").mkdir(exist_ok=True)
        path.rename(tmp_path / f"{k % 4}" / path.name)
    assert_same_world(the_scan(tmp_path).paths, phantom(), AXIAL)


@pytest.mark.parametrize("offset_mm", [ADJOINING, INTERLEAVED])
def test_two_series_mixed_in_one_folder_are_refused(tmp_path, offset_mm):
    two_series(tmp_path, offset_mm, {}, {}, together=True)
    scan = the_scan(tmp_path)
    assert scan.verdict == "several_volumes"
    assert "8 of 16 slices have the image number of another" in scan.reason


def test_a_missing_patient_id_is_no_other_patient(tmp_path):
    paths = write_axial(tmp_path)
    edit(paths[7], PatientID=None, StudyInstanceUID=None)
    assert_same_world(the_scan(tmp_path).paths, phantom(), AXIAL)


NO_UID: dict[str, tuple[Change, Change]] = {
    "number": ({"SeriesNumber": 1}, {"SeriesNumber": 2}),
    "description": ({"SeriesDescription": "T1"}, {"SeriesDescription": "T2"}),
    "protocol": ({"ProtocolName": "T1"}, {"ProtocolName": "T2"}),
    "patient": ({"PatientID": "A"}, {"PatientID": "B"}),
}


@pytest.mark.parametrize("name", NO_UID)
@pytest.mark.parametrize("offset_mm", [ADJOINING, INTERLEAVED, SAME])
def test_series_without_uid_are_told_apart(tmp_path, name, offset_mm):
    first, second = ({"SeriesInstanceUID": None, **changes} for changes in NO_UID[name])
    assert_both_right(tmp_path, two_series(tmp_path, offset_mm, first, second, together=True), offset_mm)


@pytest.mark.parametrize(
    ("changes", "found"),
    [({}, "image number"), ({"AcquisitionNumber": 2}, "acquisition"), ({"EchoTime": "90"}, "echo")],
)
@pytest.mark.parametrize("offset_mm", [ADJOINING, INTERLEAVED])
def test_series_without_uid_that_nothing_sure_tells_apart_are_refused(tmp_path, changes, found, offset_mm):
    bare = {"SeriesInstanceUID": None, "SeriesNumber": None}
    _, second = two_series(tmp_path, offset_mm, bare, {**bare, **changes}, together=True)
    if changes:
        renumber(second, 9)
    scan = the_scan(tmp_path)
    assert scan.verdict == "several_volumes"
    assert found in scan.reason


def other_pixels(path: Path) -> Path:
    pixels = pydicom.dcmread(path).pixel_array
    return edit(path, PixelData=(pixels + 1).astype("<i2").tobytes())


def compress(path: Path) -> Path:
    found = pydicom.dcmread(path)
    found.compress(uid.RLELossless, generate_instance_uid=False)
    found.save_as(path)
    return path


CONTRADICTIONS: dict[str, Callable[[Path], object]] = {
    "pixels": other_pixels,
    "slope": lambda path: edit(path, RescaleSlope="2"),
    "pixels, compressed": lambda path: compress(other_pixels(path)),
    "pixels, cut": lambda path: cut(other_pixels(path), 20),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
@pytest.mark.parametrize("number", [3, 7])
def test_files_of_one_image_with_other_pixels_are_refused(tmp_path, name, number):
    paths = write_axial(tmp_path)
    (tmp_path / "again").mkdir()
    CONTRADICTIONS[name](Path(shutil.copy(paths[number], tmp_path / "again")))
    scan = the_scan(tmp_path)
    assert scan.verdict == "duplicate_positions"
    assert scan.reason.startswith("1 of 9 files has the SOPInstanceUID and the place of another file and other pixels")


@pytest.mark.parametrize("change", [compress, lambda path: edit(path, StudyDescription="sent again")])
def test_copies_with_the_same_pixels_are_left_out(tmp_path, change):
    paths = write_axial(tmp_path)
    (tmp_path / "again").mkdir()
    for path in paths:
        change(Path(shutil.copy(path, tmp_path / "again")))
    assert_same_world(the_scan(tmp_path).paths, phantom(), AXIAL)


SCATTERED: dict[str, tuple[Callable[[int], Change], str]] = {
    "series": (lambda k: {"SeriesInstanceUID": f"1.2.{k}"}, "8 values of SeriesInstanceUID"),
    "pairs": (lambda k: {"SeriesInstanceUID": f"1.2.{k // 2}"}, "4 values of SeriesInstanceUID"),
    "number": (lambda k: {"SeriesInstanceUID": f"1.2.{k}", "SeriesNumber": k + 1}, "8 values of SeriesInstanceUID"),
    "study": (lambda k: {"StudyInstanceUID": f"1.2.{k}"}, "8 values of StudyInstanceUID"),
    "no UID": (lambda k: {"SeriesInstanceUID": None, "SeriesNumber": k + 1}, "8 values of SeriesNumber"),
}


@pytest.mark.parametrize("name", SCATTERED)
@pytest.mark.parametrize("apart", [False, True])
def test_a_series_for_each_slice_is_named(tmp_path, name, apart):
    change, found = SCATTERED[name]
    for k, path in enumerate(write_axial(tmp_path)):
        edit(path, **change(k))
        if apart and name != "study":
            (tmp_path / f"{k}").mkdir()
            path.rename(tmp_path / f"{k}" / path.name)
    scan = the_scan(tmp_path)
    assert scan.verdict == "scattered_series"
    assert scan.reason.startswith(f"8 slices of one stack name {found}, expected one for a volume; export again")


@pytest.mark.parametrize("share", [1, 2])
def test_a_frame_of_reference_for_each_slice_is_named(tmp_path, share):
    for k, path in enumerate(write_axial(tmp_path)):
        edit(path, FrameOfReferenceUID=f"1.2.{k // share}")
    scan = the_scan(tmp_path)
    assert scan.verdict == "several_volumes"
    assert f"8 slices of one series have {8 // share} frames of reference" in scan.reason
    assert "one FrameOfReferenceUID" in scan.reason


def test_three_single_slices_at_one_place_stay_bystanders(tmp_path):
    for k, path in enumerate(write_axial(tmp_path)[:3]):
        edit(move(path, -2.5 * k * ALONG), SeriesInstanceUID=f"1.2.{k}")
    for path in tmp_path.glob("IM000[4-8].dcm"):
        path.unlink()
    assert [scan.verdict for scan in find_scans(tmp_path)] == ["not_a_volume"] * 3


CAPTURES = [uid.SecondaryCaptureImageStorage, uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage]


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("modality", ["CT", "MR", "OT"])
def test_secondary_captures_with_geometry_are_read(tmp_path, name, modality):
    for path in write_axial(tmp_path):
        edit(path, SOPClassUID=name, Modality=modality, RescaleIntercept="-100")
    scan = the_scan(tmp_path)
    assert scan.is_ok, scan.reason
    assert_same_world(scan.paths, phantom() - 100, AXIAL)


def test_a_screenshot_in_the_series_of_a_scanner_is_left_out(tmp_path):
    paths = write_axial(tmp_path)
    target = Path(shutil.copy(paths[3], tmp_path / "shot"))
    edit(target, SOPClassUID=uid.SecondaryCaptureImageStorage, SOPInstanceUID="1.2.3")
    volume, screenshot = find_scans(tmp_path)
    assert (volume.verdict, screenshot.verdict) == ("ok", "not_a_volume")
    assert np.array_equal(read(volume.paths)[0], phantom()[:, :, :])
