"""The foreground of CT: a chest of known truth, cropped, padded, on tables, in clothes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.preprocessing.fingerprint import is_hounsfield
from tests.support.trunk import AIR, LUNG, MM, PLATE, SOFT, Trunk, check, ellipse, found_in, image_of, noisy

WHOLE = ((0, 176), (0, 136), (0, 24))
CUTS = {
    "whole": WHOLE,
    "left": ((52, 176), (0, 136), (0, 24)),
    "left and front": ((52, 176), (0, 88), (0, 24)),
    "left, right and front": ((52, 124), (0, 88), (0, 24)),
    "left, right, front and top": ((52, 124), (0, 88), (6, 24)),
}


@pytest.mark.parametrize("lung", [-900, LUNG, -700])
@pytest.mark.parametrize("cut", CUTS)
def test_lung_that_a_crop_cuts_is_body(cut, lung):
    trunk = Trunk(lung=lung).crop(CUTS[cut])
    image = image_of(trunk.hu)
    assert is_hounsfield(image)
    check(trunk, found_in(image))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_planes_are_found_whatever_the_order_of_axes(axes):
    trunk = Trunk().crop(CUTS["left and front"])
    affine = np.diag([MM, MM, MM, 1.0])[:, [*axes, 3]]
    image = image_of(trunk.hu.transpose(axes))
    found = found_in(MetaTensor(image.as_tensor(), affine=torch.from_numpy(affine)))
    assert (found == found_in(image_of(trunk.hu)).transpose(axes)).mean() > 0.999


@pytest.mark.parametrize("gap", [0, 2.5, 10, 25])
@pytest.mark.parametrize("thickness", [2.5, 5, 7.5])
def test_a_table_is_not_body(gap, thickness):
    trunk = Trunk(table=False, clothes=False)
    y = np.arange(-170, 170, MM)
    rows = (y < -110 - gap) & (y >= -110 - gap - thickness)
    trunk.table = np.zeros(trunk.hu.shape, bool)
    trunk.table[8:-8, rows] = True
    trunk.hu[trunk.table] = PLATE
    found = found_in(image_of(trunk.hu))
    far = trunk.table & ~ndimage.binary_dilation(trunk.body, iterations=4)
    assert (found & far).sum() <= 0.01 * far.sum()
    assert (trunk.body & ~found).sum() <= 0.01 * trunk.body.sum()


def test_a_hollow_table_with_foam_is_not_body():
    trunk = Trunk(table=False)
    y = np.arange(-170, 170, MM)
    trunk.table = np.zeros(trunk.hu.shape, bool)
    trunk.table[8:-8, (y < -112) & (y >= -152)] = True
    foam = ndimage.binary_erosion(trunk.table, np.ones((3, 3, 1)), border_value=1, iterations=2)
    trunk.hu[trunk.table] = PLATE
    trunk.hu[foam] = noisy(np.full(foam.sum(), -920.0))
    check(trunk, found_in(image_of(trunk.hu)))


@pytest.mark.parametrize("side_mm", [15, 25])
def test_rails_beside_the_body_are_not_body(side_mm):
    trunk = Trunk(clothes=False)
    rail = np.zeros(trunk.hu.shape, bool)
    rail[4 : 4 + int(side_mm / MM), 40 : 40 + int(side_mm / MM)] = True
    trunk.hu[rail] = PLATE
    found = found_in(image_of(trunk.hu))
    assert not (found & rail).any()
    check(trunk, found)


@pytest.mark.parametrize("wall_mm", [6, 8, 12])
@pytest.mark.parametrize("table", [False, True])
def test_the_thin_chest_of_a_child_is_body(wall_mm, table):
    x, y, _ = np.meshgrid(np.arange(-100, 100), np.arange(-80, 80), np.arange(40), indexing="ij")
    body = ellipse((x, y), (0, 0), (60, 45))
    lung = ellipse((x, y), (0, 0), (60 - wall_mm, 45 - wall_mm)) & (np.abs(x) > 14)
    plate = (y < -47) & (y > -52) & table
    hu = np.select([lung, body, plate], [-750, SOFT, PLATE], AIR)
    found = found_in(image_of(noisy(hu), (1, 1, 1)))
    assert (lung & ~found).sum() <= 0.01 * lung.sum()
    assert (body & ~found).sum() <= 0.02 * body.sum()
    assert (found & ~ndimage.binary_dilation(body, iterations=3)).sum() <= 0.01 * body.sum()


def test_air_between_arms_and_trunk_is_outside():
    """Closed in the planes where arm and trunk touch twice, open above."""
    trunk = Trunk(arms=True, clothes=False, depth=120)
    check(trunk, found_in(image_of(trunk.hu)))


def test_air_around_three_bodies_is_outside():
    """Arms and trunk apart, in a field of view so small that two thirds of the outline of the air is skin."""
    trunk = Trunk(arms=True, clothes=False, depth=120).crop(((0, 176), (16, 114), (34, 48)))
    check(trunk, found_in(image_of(trunk.hu)), lost=0.02)


def test_five_thick_slices():
    trunk = Trunk()
    thick = image_of(trunk.hu[:, :, ::5], (MM, MM, 5 * MM))
    for name in ("body", "lung", "table", "clothes"):
        setattr(trunk, name, getattr(trunk, name)[:, :, ::5])
    check(trunk, found_in(thick))
