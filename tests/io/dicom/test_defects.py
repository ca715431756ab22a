"""The defect suite: one folder for each way in which a series goes wrong; every verdict right, every voxel in place."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medseg.io.discovery import find_scans
from sample_data.dicom_series import write_dicom_series
from tests.support.dicom_files import (
    ALONG,
    AXIAL,
    IN_PLANE,
    affine_of,
    assert_same_world,
    copy,
    cut,
    edit,
    move,
    phantom,
    write_axial,
)

FEET_FIRST = affine_of(np.diag([1, -1, -1]))
DECUBITUS = affine_of([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])


def each(change):
    return lambda paths: [change(path, k) for k, path in enumerate(paths)]


def reverse_names(paths):
    for k, path in enumerate(paths):
        path.rename(path.with_name(f"{len(paths) - k}"))


def write_three(folder):
    for number in (1, 2, 3):
        for path in write_dicom_series((phantom(), AXIAL), folder, series_number=number):
            path.rename(path.with_name(f"{number}{path.name}"))


def own_intercept(path, k):
    """Another intercept in every second slice, and stored values that make up for it: the same image."""
    if k % 2:
        pixels = pydicom.dcmread(path).pixel_array - 1 + k
        edit(path, RescaleIntercept=f"{1 - k}", PixelData=pixels.astype("<i2").tobytes())


def second_phase(path, k):
    edit(path, TemporalPositionIdentifier=1)
    copy(path, f"b{path.name}", TemporalPositionIdentifier=2)


LOCALISER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
SUITE = {
    "missing slice": (lambda p: p[3].unlink(), ["missing_slices"]),
    "same file twice": (lambda p: (p[0].parent / "twice").write_bytes(p[2].read_bytes()), ["ok"]),
    "same slice with a new UID": (lambda p: copy(p[2], "new"), ["duplicate_positions"]),
    "reversed names": (reverse_names, ["ok"]),
    "two phases under one UID": (each(second_phase), ["ok", "ok"]),
    "tilt of 10 degrees": (each(lambda x, k: move(x, k * 2.5 * np.tan(np.radians(10)) * IN_PLANE)), ["gantry_tilt"]),
    "spacing drift of 1 %": (each(lambda x, k: move(x, 0.0125 * k * (k - 1) * ALONG)), ["nonuniform_spacing"]),
    "truncated file": (lambda p: cut(p[4], 50), ["truncated"]),
    "localiser inside": (lambda p: copy(p[0], "scout", **LOCALISER), ["not_a_volume", "ok"]),
    "signed pixels": (lambda p: None, ["ok"]),
    "rescale of each slice": (each(own_intercept), ["ok"]),
    "junk of 4 bytes": (lambda p: (p[0].parent / "junk").write_bytes(b"DICM"), ["ok"]),
}


@pytest.mark.parametrize("name", sorted(SUITE))
def test_defect_has_its_verdict_and_the_rest_its_place(tmp_path, name):
    damage, expected = SUITE[name]
    damage(write_axial(tmp_path))
    scans = find_scans(tmp_path)
    assert sorted(scan.verdict for scan in scans) == expected
    for scan in scans:
        if scan.is_ok:
            assert_same_world(scan.paths, phantom(), AXIAL)


@pytest.mark.parametrize("affine", [AXIAL, FEET_FIRST, DECUBITUS], ids=["non-square", "feet first", "decubitus"])
def test_positions_are_exact(tmp_path, affine):
    write_dicom_series((phantom(), affine), tmp_path)
    (scan,) = find_scans(tmp_path)
    assert scan.is_ok
    assert_same_world(scan.paths, phantom(), affine)


def test_three_series_in_one_folder(tmp_path):
    write_three(tmp_path)
    scans = find_scans(tmp_path)
    assert [scan.verdict for scan in scans] == ["ok"] * 3
    for scan in scans:
        assert_same_world(scan.paths, phantom(), AXIAL)
