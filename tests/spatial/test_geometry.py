from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

SIZES = st.tuples(*[st.integers(2, 9)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 7.0)] * 3)
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
ORIGINS = st.tuples(*[st.floats(-200, 200)] * 3)


@st.composite
def geometries(draw, aligned=False):
    if aligned:
        order = draw(st.permutations(range(3)))
        axes = np.eye(3)[list(order)] * draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    else:
        axes = Rotation.from_euler("xyz", draw(ANGLES), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = axes * draw(SPACINGS)
    affine[:3, 3] = draw(ORIGINS)
    return Geometry(draw(SIZES), affine)


def voxels_on(geometry, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.rand((channels, *geometry.shape), generator=generator)
    return MetaTensor(voxels, affine=torch.from_numpy(geometry.affine.copy()))


def indices_of(geometry):
    return np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), -1).reshape(-1, 3)


@given(geometries(), st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_world_and_back_is_identity(geometry, points):
    assert np.allclose(geometry.to_index(geometry.to_world(points)), points, atol=1e-6)


@given(geometries())
def test_spacing_and_volume_do_not_depend_on_rotation(geometry):
    assert geometry.voxel_volume_mm3 == pytest.approx(np.prod(geometry.spacing_mm), rel=1e-6)
    assert not geometry.is_sheared
    assert len(set(geometry.axcodes.translate(str.maketrans("LPI", "RAS")))) == 3


@given(geometries(), st.tuples(*[st.integers(-3, 5)] * 3))
def test_crop_keeps_world_positions(geometry, start):
    cropped = geometry.crop(start, (2, 3, 4))
    inner = np.array([[0, 0, 0], [1, 2, 3]])
    assert np.allclose(cropped.to_world(inner), geometry.to_world(inner + np.array(start)))


@given(geometries())
def test_resampling_onto_itself_changes_nothing(geometry):
    image = voxels_on(geometry)
    assert torch.allclose(resample(image, geometry).as_tensor(), image.as_tensor(), atol=2e-5)


@settings(max_examples=60)
@given(geometries(aligned=True), geometries(aligned=True))
def test_aligned_resampling_equals_scipy(source, onto):
    check_against_scipy(source, onto)


@settings(max_examples=60)
@given(geometries(), geometries())
def test_oblique_resampling_equals_scipy(source, onto):
    check_against_scipy(source, onto)


@settings(max_examples=60)
@given(geometries(aligned=True), st.data())
def test_voxels_that_lie_on_the_grid_are_taken_as_they_are(source, data):
    """A crop with every second or third voxel, of any order and direction of the axes, and of a type of its own."""
    ends = [data.draw(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))) for n in source.shape]
    steps = [data.draw(st.integers(1, 3)) * (1 if last >= first else -1) for first, last in ends]
    taken = [np.arange(first, last + sign(step), step) for (first, last), step in zip(ends, steps, strict=True)]
    order = data.draw(st.permutations([0, 1, 2]))
    onto = np.eye(4)
    onto[:3, :3] = np.diag(steps)[:, order]
    onto[:3, 3] = [part[0] for part in taken]
    image = torch.arange(np.prod(source.shape)).reshape(1, *source.shape).to(torch.uint16)
    i, j, k = (len(taken[axis]) for axis in order)
    grid = Geometry((i, j, k), source.affine @ onto)
    found = resample(MetaTensor(image, affine=torch.from_numpy(source.affine.copy())), grid)
    expected = image[0].numpy()[np.ix_(*taken)].transpose(order)
    assert np.array_equal(found.as_tensor()[0].numpy(), expected)


def sign(number):
    return 1 if number > 0 else -1


def check_against_scipy(source, onto):
    image = voxels_on(source, channels=2)
    found = resample(image, onto).numpy()
    positions = source.to_index(onto.to_world(indices_of(onto))).T
    for channel in range(2):
        expected = map_coordinates(image[channel].numpy(), positions, order=1, mode="nearest").reshape(onto.shape)
        assert np.abs(found[channel] - expected).max() < 2e-3


@given(geometries())
def test_a_ramp_in_world_space_stays_a_ramp(source):
    slope = np.array([0.3, -0.2, 0.5])
    ramp = (source.to_world(indices_of(source)) @ slope).reshape(source.shape)
    image = MetaTensor(torch.from_numpy(ramp[None]).float(), affine=torch.from_numpy(source.affine.copy()))
    inner = np.array([[(n - 1) * share for n in source.shape] for share in (0.0, 0.25, 0.6)])
    centre = np.eye(4)
    centre[:3, :3] = np.diag([0.01] * 3)
    for point in source.to_world(inner):
        centre[:3, 3] = point
        value = resample(image, Geometry((1, 1, 1), centre)).item()
        assert value == pytest.approx(float(point @ slope), abs=2e-2)


@given(geometries(), geometries())
@settings(max_examples=30)
def test_nearest_never_invents_a_value(source, onto):
    image = MetaTensor((voxels_on(source).as_tensor() * 5).round(), affine=torch.from_numpy(source.affine.copy()))
    assert set(np.unique(resample(image, onto, "nearest").numpy())) <= set(np.unique(image.numpy()))


def test_slabs_do_not_show():
    source, onto = Geometry((7, 8, 9), np.diag([2.0, 2, 2, 1])), Geometry((13, 11, 17), np.diag([1.1, 1.3, 0.9, 1]))
    image = voxels_on(source, channels=3)
    whole, slabs = resample(image, onto), resample(image, onto, slab_voxels=1)
    assert torch.allclose(slabs.as_tensor(), whole.as_tensor(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((2, 2, 2), np.zeros((4, 4)), "last row"),
        ((2, 2, 2), np.diag([1.0, 0, 1, 1]), "invertible"),
        ((2, 2, 2), np.diag([np.nan, 1, 1, 1]), "finite"),
        ((2, 0, 2), np.eye(4), "positive"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, message):
    with pytest.raises(ValueError, match=message):
        Geometry(shape, affine)


def test_shear_is_seen_at_a_tenth_of_a_degree():
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.deg2rad(0.1))
    assert Geometry((2, 2, 2), affine).is_sheared
    affine[1, 2] = np.tan(np.deg2rad(0.01))
    assert not Geometry((2, 2, 2), affine).is_sheared


def test_a_geometry_cannot_be_changed():
    geometry = Geometry((2, 2, 2), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 2.0


def test_closeness_is_measured_in_millimetres_at_the_corners():
    near = np.eye(4)
    near[0, 0] = 1 + 1e-4
    assert not Geometry((100, 2, 2), near).is_close(Geometry((100, 2, 2), np.eye(4)))
    assert Geometry((100, 2, 2), near).is_close(Geometry((100, 2, 2), np.eye(4)), tolerance_mm=0.02)
    assert not Geometry((3, 2, 2), np.eye(4)).is_close(Geometry((2, 2, 2), np.eye(4)))
