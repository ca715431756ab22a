"""Regridding: the image lies after it where the headers say, to a fraction of a voxel; what cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from sample_data.dicom_series import write_dicom_series
from tests.support.dicom_files import ALONG, IN_PLANE, FloatArray, edit, move, remove, write_axial
from tests.support.scans import grid_of, shared

SHAPE = (24, 20, 16)
AXES = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "feet first": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.array([[0, 0, -1.0], [-1, 0, 0], [0, -1, 0]]),
}


def world(points_mm: FloatArray) -> FloatArray:
    """A smooth function of RAS+ mm, linear so that linear interpolation is exact."""
    return np.asarray(500 + points_mm @ np.array([20.0, -9.0, 14.0]))


def write_moved(folder, axes: np.ndarray, offsets_mm: np.ndarray):
    """Slices of the smooth function, each moved by its (column, row, normal) offset, values where they then lie."""
    affine = np.eye(4)
    affine[:3, :3] = axes * (1.0, 1.5, 2.5)
    affine[:3, 3] = (10, 20, -30)
    geometry = Geometry(SHAPE, affine)
    units = affine[:3, :3] / np.asarray(geometry.spacing_mm)
    indices = np.argwhere(np.ones(SHAPE, bool))
    moved = geometry.to_world(indices) + (offsets_mm @ units.T)[indices[:, 2]]
    paths = write_dicom_series((np.round(world(moved)).reshape(SHAPE), affine), folder)
    for path, offset in zip(paths, offsets_mm, strict=True):
        move(path, np.diag([-1, -1, 1]) @ units @ offset)


K = np.arange(SHAPE[2])
UNEVEN = np.concatenate([[0], np.cumsum(np.random.default_rng(0).uniform(-1.2, 1.2, SHAPE[2] - 1))])
CASES = {
    "tilt": np.stack([0 * K, 0.44 * K, 0 * K], axis=1),
    "tilt the other way, along columns": np.stack([-0.44 * K, 0 * K, 0 * K], axis=1),
    "uneven": np.stack([0 * K, 0 * K, UNEVEN], axis=1),
    "drift": np.stack([0 * K, 0 * K, 2.5 * 0.01 * K * (K - 1) / 2], axis=1),
    "tilt and uneven": np.stack([0 * K, (2.5 * K + UNEVEN) * np.tan(np.radians(18.5)), UNEVEN], axis=1),
}


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("axes", sorted(AXES))
def test_the_image_lies_where_the_headers_say(tmp_path, case, axes):
    write_moved(tmp_path, AXES[axes], CASES[case])
    (refused,) = find_scans(tmp_path)
    assert refused.verdict == ("gantry_tilt" if "tilt" in case else "nonuniform_spacing")
    (scan,) = find_scans(tmp_path, regrid=True)
    assert scan.is_ok, scan.reason
    assert not grid_of(scan).is_sheared
    image = read_scan(scan)
    assert Geometry.of(image).is_close(grid_of(scan), 1e-6)
    voxels = image.as_tensor()[0].numpy()
    indices = np.argwhere(np.ones(voxels.shape, bool))
    expected = world(grid_of(scan).to_world(indices)).reshape(voxels.shape)
    inside = voxels > voxels.min()
    assert inside.mean() > 0.6
    # Rounded to whole numbers when written; at the rim the border value continues for half a voxel.
    close = np.abs(voxels - expected) < 1.1
    assert close[inside].mean() > 0.9
    core = (slice(8, 16), slice(9, 19))
    assert close[core].all()


def test_the_report_says_what_was_done_and_how_far(tmp_path):
    write_moved(tmp_path, AXES["axial"], CASES["tilt"])
    (scan,) = find_scans(tmp_path, regrid=True)
    assert scan.regrid == (
        "regridded: 16 slices that lean by 9.98 degrees, 2.5 to 2.5 mm apart, became 16 of 2.5 mm at right angles; "
        "taken for a regular stack the worst slice would lie 6.6 mm off"
    )
    assert grid_of(scan).shape == (24, 25, 16)


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda p: remove(p[3]), "missing_slices", r"gap of 5 mm"),
        (lambda p: [move(x, 0.3 * k * IN_PLANE) for k, x in enumerate(p)] + remove(p[3]), "missing_slices", "gap"),
        (lambda p: [move(x, 6.1 * ALONG) for x in p[5:]], "nonuniform_spacing", "too wide to regrid"),
        (lambda p: [move(x, 4.0 * k * IN_PLANE) for k, x in enumerate(p)], "gantry_tilt", "expected at most 45"),
        (lambda p: move(p[4], 3 * IN_PLANE), "nonuniform_spacing", "beside the line"),
        (lambda p: [edit(x, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]) for x in p[:4]], "mixed_orientation", "2 or"),
    ],
)
def test_what_cannot_be_regridded_stays_refused(tmp_path, damage, code, message):
    damage(write_axial(tmp_path))
    (scan,) = find_scans(tmp_path, regrid=True)
    assert scan.verdict == code
    assert message in scan.reason
    assert scan.regrid == ""


def test_regular_series_are_left_alone(tmp_path):
    write_axial(tmp_path)
    (plain,), (asked,) = find_scans(tmp_path), find_scans(tmp_path, regrid=True)
    assert (asked.verdict, asked.regrid) == ("ok", "")
    assert torch.equal(read_scan(plain).as_tensor(), read_scan(asked).as_tensor())


def test_slices_at_unequal_distances_are_sampled_where_they_lie():
    heights = np.array([0.0, 1.0, 1.5, 4.0])
    source = MetaTensor(torch.arange(4.0).expand(1, 3, 3, 4).clone(), affine=torch.eye(4, dtype=torch.float64))
    for turn in (np.eye(4), np.array([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])):
        out = resample(source, Geometry((2, 2, 9), turn @ np.diag([1, 1, 0.5, 1])), slices=heights)
        expected = np.interp(np.arange(9) * 0.5, heights, np.arange(4))
        np.testing.assert_allclose(out.as_tensor()[0, 0, 0].numpy(), expected, atol=1e-5)


def test_the_real_tilted_ct_covers_what_dcm2niix_covers():
    (scan,) = find_scans(shared("data/dicom/ct_ge_tilt/In"), regrid=True)
    grid = grid_of(scan)
    assert (scan.verdict, grid.shape) == ("ok", (512, 611, 37))
    assert "lean by 18.5 degrees, 1.081 to 6.999 mm apart" in scan.regrid
    assert "48.2 mm off" in scan.regrid
    image = read_scan(scan)
    reference = Geometry((512, 611, 56), np.array([[-0.488281, 0, 0, 125], [0, 0.463049, -0.831271, -113.07737],
                         [0, 0.154934, 2.484406, -73.335167], [0, 0, 0, 1]]))  # fmt: skip
    corners = np.array([[a, b, c] for a in (0, 511) for b in (0, 610) for c in (0, 55)])
    there = grid.to_index(reference.to_world(corners))
    assert (there > -1.5).all()
    assert (there < np.array(grid.shape) + 0.5).all()
    assert abs(float(image.mean()) + 808.66) < 10
