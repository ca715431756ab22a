"""Padding that a file names: brighter than the image it would be tissue; elsewhere values stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medseg import read_scan
from tests.support.dicom_files import edit, phantom, write_axial

PLAIN = phantom()


def write(folder: Path, stored: int, **elements: Any) -> np.ndarray:
    """The phantom whose first rows are padding; returns where, as it is read."""
    for path in write_axial(folder):
        found = pydicom.dcmread(path)
        pixels = found.pixel_array.copy()
        pixels[:3] = stored
        found.PixelData = pixels.astype("<i2").tobytes()
        for keyword, value in elements.items():
            found.add_new(keyword, "SS" if value < 2**15 else "US", value)
        found.save_as(path)
    voxels = read_scan(folder)[0].numpy()
    return np.broadcast_to((np.arange(voxels.shape[1]) < 3)[None, :, None], voxels.shape)


@pytest.mark.parametrize(
    ("stored", "elements"),
    [(32767, {"PixelPaddingValue": 32767}), (30000, {"PixelPaddingValue": 29000, "PixelPaddingRangeLimit": 31000}),
     (30000, {"PixelPaddingValue": 31000, "PixelPaddingRangeLimit": 29000})],
)  # fmt: skip
@pytest.mark.parametrize("slope", ["1", "0.25"])
def test_bright_padding_becomes_the_darkest_value(tmp_path, stored, elements, slope):
    where = write(tmp_path, stored, **elements)
    for path in tmp_path.iterdir():
        edit(path, RescaleSlope=slope)
    voxels = read_scan(tmp_path)[0].numpy()
    assert voxels.max() <= 2000 * float(slope)
    assert np.unique(voxels[where]).tolist() == [voxels[~where].min()]


@pytest.mark.parametrize(
    ("stored", "elements"),
    [(-2000, {"PixelPaddingValue": -2000}), (-2000, {"PixelPaddingValue": 63536}), (0, {"PixelPaddingValue": 0}),
     (30000, {}), (30000, {"PixelPaddingRangeLimit": 30000}), (700, {"PixelPaddingValue": 9999})],
)  # fmt: skip
def test_other_padding_stays(tmp_path, stored, elements):
    where = write(tmp_path, stored, **elements)
    assert np.unique(read_scan(tmp_path)[0].numpy()[where]).tolist() == [stored]


def test_a_negative_slope_makes_small_numbers_bright(tmp_path):
    where = write(tmp_path, -32768, PixelPaddingValue=-32768)
    for path in tmp_path.iterdir():
        edit(path, RescaleSlope="-1", RescaleIntercept="0")
    voxels = read_scan(tmp_path)[0].numpy()
    assert voxels.max() <= 1000
    assert np.unique(voxels[where]).tolist() == [voxels[~where].min()]


def test_the_modality_that_was_removed_is_that_of_the_class(tmp_path):
    from medseg import find_scans

    for path in write_axial(tmp_path):
        edit(path, Modality="")
    (scan,) = find_scans(tmp_path)
    assert (scan.modality, scan.id[:2]) == ("MR", "mr")
