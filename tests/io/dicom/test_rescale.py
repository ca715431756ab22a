"""Slope and intercept: applied where they are sure, refused by name where the values would be unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.spatial.geometry import Geometry
from sample_data.dicom_enhanced import Frames, write_enhanced
from tests.support.dicom_files import AXIAL, SHAPE, assert_same_world, edit, phantom, read, the_scan, write_axial


def write_ct(folder: Path, **elements: Any) -> list[Path]:
    """The phantom as CT with other elements."""
    return [edit(path, Modality="CT", RescaleIntercept="-1024", **elements) for path in write_axial(folder)]


def raw(path: Path, keyword: str, value: bytes) -> None:
    """Write a value as it stands, though it is none that DICOM knows."""
    found = pydicom.dcmread(path)
    tag = Tag(keyword)
    found[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    found.save_as(path)


def test_the_intercept_counts_without_a_slope(tmp_path):
    paths = write_ct(tmp_path, RescaleSlope=None)
    assert the_scan(tmp_path).is_ok
    assert_same_world(paths, phantom() - 1024, AXIAL)


def test_the_slope_of_mr_counts_without_an_intercept(tmp_path):
    paths = [edit(path, RescaleSlope="2", RescaleIntercept=None) for path in write_axial(tmp_path)]
    assert_same_world(paths, phantom() * 2, AXIAL)


def test_mr_needs_no_rescale(tmp_path):
    for path in write_axial(tmp_path):
        edit(path, RescaleSlope=None, RescaleIntercept=None)
    edit(tmp_path / "IM0001.dcm", RescaleSlope="1", RescaleIntercept="0")
    assert_same_world(the_scan(tmp_path).paths, phantom(), AXIAL)


SOME = "expected it in all slices or in none"
REFUSED: dict[str, tuple[str, Any, str]] = {
    "CT, none": ("CT", {"RescaleSlope": None, "RescaleIntercept": None},
                 "found CT without RescaleSlope and RescaleIntercept, so its Hounsfield units are unknown"),
    "CT, no intercept": ("CT", {"RescaleIntercept": None}, "found CT without RescaleIntercept"),
    "CT, slope 0": ("CT", {"RescaleSlope": "0"}, "RescaleSlope is 0"),
    "slope empty": ("CT", {"RescaleSlope": ""}, "RescaleSlope is empty"),
    "intercept empty": ("MR", {"RescaleIntercept": ""}, "RescaleIntercept is empty"),
    "slope with a comma": ("CT", {"RescaleSlope": b"1,0 "}, "RescaleSlope is written with a comma"),
    "intercept with a comma": ("MR", {"RescaleIntercept": b"-1024,0 "}, "RescaleIntercept is written with a comma"),
    "no number": ("CT", {"RescaleSlope": b"one "}, "RescaleSlope is not one number"),
    "two numbers": ("CT", {"RescaleSlope": [1, 2]}, "RescaleSlope is not one number"),
    "iodine": ("CT", {"RescaleType": "MGML"}, "RescaleType is MGML, so the values are no Hounsfield units"),
    "atomic numbers": ("CT", {"RescaleType": "Z_EFF "}, "RescaleType is Z_EFF"),
    "infinite": ("MR", {"RescaleSlope": b"inf "}, "RescaleSlope is not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_cannot_be_known_are_refused(tmp_path, name):
    modality, changes, message = REFUSED[name]
    for path in write_ct(tmp_path):
        edit(path, Modality=modality)
        for keyword, value in changes.items():
            raw(path, keyword, value) if isinstance(value, bytes) else edit(path, **{keyword: value})
    scan = the_scan(tmp_path)
    assert scan.verdict == "no_rescale"
    assert scan.reason.startswith(message)
    assert len(scan.paths) == SHAPE[2]


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("keywords", [("RescaleSlope",), ("RescaleIntercept",), ("RescaleSlope", "RescaleIntercept")])
@pytest.mark.parametrize("numbers", [[0], [3, 5], range(1, 8)])
def test_rescale_on_some_slices_is_refused(tmp_path, modality, keywords, numbers):
    paths = write_ct(tmp_path)
    for path in paths:
        edit(path, Modality=modality, RescaleSlope="2")
    for k in numbers:
        edit(paths[k], **dict.fromkeys(keywords))
    scan = the_scan(tmp_path)
    assert scan.verdict == "no_rescale"
    assert scan.reason.startswith(
        f"{len(numbers)} of 8 slices {'has' if len(numbers) == 1 else 'have'} no {keywords[0]}, {SOME}"
    )


def table(path: Path) -> None:
    found = pydicom.dcmread(path)
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [3, 0, 16], "HU"
    item.add_new("LUTData", "OW", np.array([10, 20, 40], "<u2").tobytes())
    found.PixelData = np.arange(120).astype("<i2").clip(0, 2).tobytes()
    found.ModalityLUTSequence = [item]
    del found.RescaleSlope, found.RescaleIntercept
    found.save_as(path)


def test_a_look_up_table_takes_the_place_of_slope_and_intercept(tmp_path):
    paths = write_ct(tmp_path)
    for path in paths:
        table(path)
    assert the_scan(tmp_path).is_ok
    assert np.unique(read(paths)[0]).tolist() == [10, 20, 40]


def test_a_look_up_table_in_some_slices_is_refused(tmp_path):
    table(write_ct(tmp_path)[2])
    assert the_scan(tmp_path).verdict == "no_rescale"


def enhanced(folder: Path, modality: Any, **elements: Any) -> np.ndarray:
    """An enhanced file whose frames have other rescale elements; None takes one away."""
    stored = phantom().astype(np.int16)
    path = write_enhanced([Frames(stored, 2.0, -10.0)], Geometry(SHAPE, AXIAL), folder / "IM1", modality=modality)
    found = pydicom.dcmread(path)
    for frame in found.PerFrameFunctionalGroupsSequence:
        item = frame.PixelValueTransformationSequence[0]
        for keyword, value in elements.items():
            if value is None:
                delattr(item, keyword)
            else:
                setattr(item, keyword, value)
    found.save_as(path)
    return stored


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RescaleSlope": None}, "the frames have no RescaleSlope, expected both"),
        ({"RescaleIntercept": None}, "the frames have no RescaleIntercept, expected both"),
        ({"RescaleSlope": ""}, "RescaleSlope is empty"),
    ],
)
def test_enhanced_frames_with_half_of_it_are_refused_by_name(tmp_path, modality, changes, message):
    enhanced(tmp_path, modality, **changes)
    scan = the_scan(tmp_path)
    assert scan.verdict == "no_rescale"
    assert scan.reason.startswith(message)


def test_enhanced_frames_without_rescale(tmp_path):
    nothing = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None}
    stored = enhanced(tmp_path, "MR", **nothing)
    assert sorted(np.unique(read_scan(the_scan(tmp_path)))) == sorted(np.unique(stored))
    enhanced(tmp_path, "CT", **nothing)
    assert [scan.verdict for scan in find_scans(tmp_path)] == ["no_rescale"]
