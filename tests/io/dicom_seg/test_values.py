"""Sources with invalid values: what the standard allows is written, the rest is named."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medseg import InputError, find_scans, read_dicom_seg, write_dicom_seg
from medseg.labels.table import LabelTable
from tests.support.dicom_files import write_axial
from tests.support.dicom_seg_judges import same_places
from tests.support.scans import grid_of


def spoil(path: Path, keyword: str, value: str) -> None:
    """Write a value as it stands, whatever the standard says of it."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(path)
        raw = value.encode() + b" " * (len(value.encode()) % 2)
        found[Tag(keyword)] = RawDataElement(Tag(keyword), dictionary_VR(keyword), len(raw), raw, 0, False, True)
        found.save_as(path)


def write_seg(folder: Path, keyword: str, values: list[str]) -> pydicom.Dataset:
    """Segment a series of which each slice has one of the values; the segmentation that is written."""
    (folder / "in").mkdir()
    for k, path in enumerate(write_axial(folder / "in")):
        spoil(path, keyword, values[k % len(values)])
    (scan,) = find_scans(folder / "in")
    grid = grid_of(scan)
    labels = np.ones(grid.shape, np.uint8)
    labels[:3] = 2
    write_dicom_seg(labels, grid, LabelTable.default(2), folder / "seg.dcm", sources=scan.paths)
    assert same_places(*read_dicom_seg(folder / "seg.dcm"), labels, grid)
    return pydicom.dcmread(folder / "seg.dcm")


INVALID = [
    ("PatientBirthDate", "01.02.1980"),
    ("PatientBirthDate", "19800231"),
    ("PatientSex", "W"),
    ("StudyDate", "2020-01-01"),
    ("StudyTime", "12.30"),
    ("StudyTime", "250000"),
    ("PatientID", "x" * 65),
    ("PatientID", "a\\b"),
    ("PatientID", "a\x07b"),
    ("AccessionNumber", "1" * 17),
    ("StudyID", "1" * 17),
    ("PatientName", "a=b=c=d"),
    ("ReferringPhysicianName", "a" * 65),
    ("PatientAge", "45"),
    ("PatientWeight", "70,5"),
    ("PatientSize", "tall"),
    ("StudyDescription", "x" * 65),
    ("SeriesNumber", "three"),
    ("SliceThickness", "2,5"),
]


@pytest.mark.parametrize(("keyword", "value"), INVALID)
def test_an_invalid_value_is_left_out_and_its_element_named(tmp_path, caplog, keyword, value):
    with caplog.at_level(logging.WARNING):
        found = write_seg(tmp_path, keyword, [value])
    assert f"leaves out elements with invalid values: {keyword}" in caplog.text
    assert len(value) == 1 or value not in caplog.text
    assert keyword in {"SeriesNumber", "SliceThickness"} or not found.get(keyword)
    assert keyword == "PatientID" or found.PatientID == "PHANTOM"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientBirthDate", "19800229"), ("StudyTime", "1230"), ("PatientAge", "045Y"), ("PatientWeight", "70.5"),
     ("PatientName", "Gr\u00fcn^Ida"), ("PatientSex", ""), ("StudyInstanceUID", "1.2.03.4")],
)  # fmt: skip
def test_valid_and_tolerable_values_stay(tmp_path, caplog, keyword, value):
    with caplog.at_level(logging.WARNING):
        found = write_seg(tmp_path, keyword, [value])
    assert "leaves out" not in caplog.text
    assert keyword == "PatientName" or str(found[keyword].value or "") == value


@pytest.mark.parametrize("value", ["1.2.ab", "1." + "2" * 80])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID"])
def test_a_uid_that_is_none_is_named(tmp_path, keyword, value):
    with pytest.raises(InputError, match=f"{keyword} of the source is no UID, expected digits and dots") as refused:
        write_seg(tmp_path, keyword, [value])
    assert refused.value.code == "no_reference"


def test_slices_of_one_instance_uid_are_named(tmp_path):
    with pytest.raises(InputError, match="several files of the source have one SOPInstanceUID"):
        write_seg(tmp_path, "SOPInstanceUID", ["1.2.3"])
