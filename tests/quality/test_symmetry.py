"""The plane of symmetry is found where it was put, and only what has no counterpart is odd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.spatial.transform import Rotation

from medseg.errors import InputError
from medseg.preprocessing.prepare import Prepared
from medseg.quality.symmetry import TOLERANCE_MM, asymmetry, find_mirror
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

SPACING_MM = 2.5
CENTRE_MM = np.array([6.0, -12.0, 20.0])


def head(turn: float = 0.0, lesion: tuple[float, float, float] | None = None, shape=(56, 64, 48)) -> Prepared:
    """A symmetric ellipsoid of three tissues, turned about the vertical axis, with a bright ball at `lesion` mm."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = CENTRE_MM - affine[:3, :3] @ (np.asarray(shape) - 1) / 2
    places = Geometry(shape, affine).to_world(np.indices(shape).reshape(3, -1).T)
    x, y, z = (Rotation.from_euler("z", -turn).apply(places - CENTRE_MM)).T
    inside = (x / 55) ** 2 + (y / 68) ** 2 + (z / 50) ** 2 < 1
    values = 0.5 + 0.2 * np.cos(np.abs(x) / 9 + 0.4) * np.cos(y / 11 + 0.7) + 0.1 * np.sin(z / 13 + y / 30)
    values[(np.abs(x) - 18) ** 2 + (y + 8) ** 2 + z**2 < 10**2] = 0.1
    if lesion is not None:
        values[((np.stack([x, y, z], axis=1) - lesion) ** 2).sum(axis=1) < 9**2] = 1.0
    values += np.random.default_rng(0).normal(0, 0.02, len(values))
    parts = (np.where(inside, values, 0), inside)
    image, foreground = (
        MetaTensor(torch.from_numpy(part.reshape(1, *shape).astype(np.float32)), affine=torch.tensor(affine))
        for part in parts
    )
    return Prepared(image, foreground, image)


@pytest.mark.parametrize("turn", [0.0, 0.2, -0.12])
def test_the_plane_is_found_where_it_was_put(turn):
    mirror = find_mirror(head(turn))
    assert mirror.correlation > 0.9
    normal = np.array([np.cos(turn), np.sin(turn), 0.0])
    for along in (-30.0, 10.0, 40.0):
        point = CENTRE_MM + along * normal + (0, 5, 7)
        expected = point - 2 * (normal @ (point - CENTRE_MM)) * normal
        assert np.abs(mirror.affine[:3, :3] @ point + mirror.affine[:3, 3] - expected).max() < 2.0  # mm


def test_a_reflection_undoes_itself():
    affine = find_mirror(head(0.1)).affine
    assert np.allclose(affine @ affine, np.eye(4), atol=1e-9)
    assert np.linalg.det(affine) == pytest.approx(-1)


def test_what_has_no_counterpart_stands_out_and_the_other_side_does_not():
    lesion = (25.0, 20.0, 10.0)
    prepared = head(0.1, lesion)
    found = asymmetry(prepared)
    values = found.as_tensor()[0].numpy()
    place = Geometry.of(prepared.image).to_world(np.indices(values.shape).reshape(3, -1).T) - CENTRE_MM
    own = Rotation.from_euler("z", -0.1).apply(place)
    near = (np.linalg.norm(own - lesion, axis=1) < 6).reshape(values.shape)
    assert np.median(values[near]) > 5 * np.quantile(values[prepared.foreground.as_tensor()[0].numpy() > 0], 0.98)
    assert values[prepared.foreground.as_tensor()[0].numpy() == 0].max() == 0


def test_a_scan_without_symmetry_is_not_compared():
    """The outline of the head, and inside it what runs from left to right."""
    prepared = head()
    across = torch.linspace(0, 1, prepared.image.shape[1])[None, :, None, None] * prepared.foreground.as_tensor()
    unlike = prepared._replace(network_image=MetaTensor(across, affine=prepared.image.affine))
    assert find_mirror(unlike).correlation < 0
    with pytest.raises(InputError, match=r"correlates by -0\.\d+ with its mirror image, expected 0\.85 or more"):
        asymmetry(unlike)


def test_anatomy_within_the_tolerance_is_no_anomaly():
    """The same head, one half of it moved by less than the tolerance, differs by nothing."""
    prepared = head()
    grid = Geometry.of(prepared.image)
    moved = resample(MetaTensor(prepared.image.as_tensor(), affine=_shifted(grid, 0.4 * TOLERANCE_MM)), grid)
    half = torch.arange(grid.shape[0])[:, None, None] < grid.shape[0] // 2
    image = MetaTensor(torch.where(half, moved.as_tensor(), prepared.image.as_tensor()), affine=prepared.image.affine)
    deep = (prepared.foreground.as_tensor()[0].numpy() > 0)[8:-8, 8:-8, 8:-8]
    found = asymmetry(prepared._replace(network_image=image))
    assert np.quantile(found.as_tensor()[0].numpy()[8:-8, 8:-8, 8:-8][deep], 0.95) == 0


def _shifted(grid: Geometry, mm: float) -> torch.Tensor:
    affine = grid.affine.copy()
    affine[1, 3] += mm
    return torch.tensor(affine)
