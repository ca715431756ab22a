"""Pictures show nothing that is not in the scan, and say truly where right, left and every slice are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from scipy.spatial.transform import Rotation

from medseg.labels.table import LabelTable
from medseg.model.segmentation import Segmentation
from medseg.report.display import window_of
from medseg.report.marks import SIDES, marked_picture, place_of, scale_bar_mm, with_marks
from medseg.report.render import render
from medseg.report.slices import TILE, cut_slices
from medseg.spatial.geometry import Geometry
from tests.support.scans import GRIDS


def scan_on(geometry: Geometry, seed: int = 0) -> tuple[MetaTensor, Segmentation]:
    """Noise that is labelled up to the border of its field of view on every side."""
    random = np.random.default_rng(seed)
    image = MetaTensor(
        torch.from_numpy(random.uniform(100, 200, (1, *geometry.shape)).astype(np.float32)),
        affine=torch.from_numpy(geometry.affine.copy()),
    )
    return image, Segmentation(np.ones(geometry.shape, np.uint8), geometry, LabelTable.default(1))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 40)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.1, 0.7, 1.0, 3.0, 9.0])] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    seed=st.integers(0, 99),
)
def test_no_pixel_lies_beyond_the_scan(shape, spacing, angles, seed):
    """Oblique, thick and short grids: where a picture is not black, there is a voxel of the scan."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = np.random.default_rng(seed).uniform(-100, 100, 3)
    geometry = Geometry(shape, affine)
    slices = cut_slices(*scan_on(geometry, seed))
    greys, numbers = slices.grey.reshape(-1, TILE, TILE), slices.labels.reshape(-1, TILE, TILE)
    for place, (_, plane) in enumerate(slices.planes()):
        indices = np.stack(np.meshgrid(*map(np.arange, plane.shape), indexing="ij"), axis=-1).reshape(-1, 3)
        voxels = geometry.to_index(plane.to_world(indices))
        assert voxels.min() > -0.501
        assert (voxels < np.asarray(shape) - 0.499).all()
        assert np.count_nonzero(greys[place]) <= len(indices)  # and nothing is painted around the plane
        assert np.count_nonzero(numbers[place]) == len(indices)


@pytest.mark.parametrize("name", GRIDS)
def test_slices_lie_on_slices_of_the_scan(name):
    """Thick slices are not blended: every row across them shows acquired ones."""
    slices = cut_slices(*scan_on(GRIDS[name]))
    ras = GRIDS[name].in_ras_order()
    for axis, plane in slices.planes():
        place = ras.to_index(plane.to_world([[0, 0, 0]]))[0][axis]
        assert place == pytest.approx(round(place), abs=1e-6)


def test_thick_slices_are_shown_in_their_own_plane_first():
    for axis, order in ((2, [2, 1, 0]), (1, [1, 2, 0]), (0, [0, 2, 1])):
        spacing = [1.0, 1.0, 1.0, 1.0]
        spacing[axis] = 5.0
        slices = cut_slices(*scan_on(Geometry((12, 12, 12), np.diag(spacing))))
        assert slices.axes.tolist() == order
    assert cut_slices(*scan_on(Geometry((12, 12, 12), np.eye(4)))).axes.tolist() == [2, 1, 0]


@pytest.mark.parametrize("name", GRIDS)
def test_the_marked_left_side_is_where_the_picture_says(name):
    """A phantom that is bright at the patient's left, front and top ends, whatever the order of its voxels."""
    geometry = GRIDS[name]
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    ras = geometry.in_ras_order()
    for axis, letter in ((0, "L"), (1, "A"), (2, "S")):
        along = ras.to_index(geometry.to_world(index))[:, axis] / (ras.shape[axis] - 1)
        bright = (along < 0.25) if letter == "L" else (along > 0.75)
        values = torch.from_numpy(bright.reshape(1, *geometry.shape).astype(np.float32))
        image = MetaTensor(values, affine=torch.from_numpy(geometry.affine.copy()))
        slices = cut_slices(image, scan_on(geometry)[1])
        for row, across in enumerate(slices.axes.tolist()):
            if across == axis:
                continue
            rows, columns = np.nonzero(slices.grey[row, 1] > 128)
            all_rows, all_columns = np.nonzero(slices.labels[row, 1])
            left, right, top, bottom = SIDES[across]
            places = {
                left: columns.mean() < np.quantile(all_columns, 0.3),
                right: columns.mean() > np.quantile(all_columns, 0.7),
                top: rows.mean() < np.quantile(all_rows, 0.3),
                bottom: rows.mean() > np.quantile(all_rows, 0.7),
            }
            assert places[letter]


def test_where_a_slice_lies_and_how_long_its_bar_is():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -30, 7, -21
    grid = Geometry((31, 1, 41), affine)
    assert place_of(grid.crop((0, 0, 20), (31, 1, 1)), 2) == "S 19 mm"
    assert place_of(grid.crop((0, 0, 0), (31, 1, 1)), 2) == "I 21 mm"
    assert place_of(grid, 1) == "A 7 mm"
    assert place_of(grid.crop((0, 0, 0), (1, 1, 1)), 0) == "L 30 mm"
    for width_mm, length_mm in ((176, 50), (400, 100), (500, 200), (25, 10), (12, 2), (0.3, 0.1)):
        assert scale_bar_mm(width_mm) == length_mm
    picture = marked_picture(np.full((100, 200, 3), 40, np.uint8), 2, "S 19 mm", 0.5)
    lines = (picture == 255).all(axis=-1).sum(axis=1)
    assert lines.max() == 2 * 20 + 1  # 40 % of 100 mm fit 20 mm, 2 pixels a mm


def test_every_tile_of_a_picture_is_marked():
    slices = cut_slices(*scan_on(GRIDS["RAS"]))
    plain = render(slices.grey)
    marked = with_marks(plain, slices)
    changed = (marked != plain).any(axis=-1)
    assert changed.any(axis=(2, 3)).all()
    assert changed.mean() < 0.06
    low, _ = window_of(*(scan_on(GRIDS["RAS"])[0], np.ones(GRIDS["RAS"].shape, np.uint8)))
    assert low > 0
