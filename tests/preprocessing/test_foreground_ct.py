"""The foreground of CT: a chest of known truth, cropped, padded, on tables, in clothes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.preprocessing.fingerprint import is_hounsfield
from medseg.preprocessing.foreground import find_foreground

MM = 2.5
AIR, LUNG, FAT, SOFT, BONE, PLATE, CLOTH = -1000, -850, -100, 40, 600, 150, -500


def image_of(hu, spacing=(MM, MM, MM)):
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(hu, np.float32))[None], affine=affine)


def noisy(hu, sd=25.0, seed=0):
    return np.round(hu + sd * np.random.default_rng(seed).standard_normal(hu.shape))


def found_in(image):
    return find_foreground(image).as_tensor()[0].numpy() > 0


def ellipse(grid, centre, radii):
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


class Trunk:
    """A chest of 320 x 220 mm in a field of view of 440 x 340 mm, arms beside it, a table and clothes around it.

    Anterior is up the second axis: the plate lies 10 mm below the back.
    """

    def __init__(self, *, lung=LUNG, table=True, clothes=True, arms=False, depth=60):
        x, y, z = np.meshgrid(
            np.arange(-220, 220, MM), np.arange(-170, 170, MM), np.arange(0, depth, MM), indexing="ij"
        )
        self.body = ellipse((x, y), (0, 0), (160, 110))
        muscle, heart = ellipse((x, y), (0, 0), (145, 95)), ellipse((x, y), (10, 20), (50, 50))
        self.lung = (ellipse((x, y), (75, 5), (55, 75)) | ellipse((x, y), (-75, 5), (55, 75))) & ~heart
        vessels = (np.hypot((x + 5) % 25 - 12, (y + 5) % 25 - 12) < 3) & self.lung
        self.lung &= ~vessels
        spine = ellipse((x, y), (0, -70), (20, 18))
        self.table = (np.abs(y + 110 + 10 + 3) <= 3) & table
        outer = ellipse((x, y), (0, 6), (172, 124))
        self.clothes = outer & ~ellipse((x, y), (0, 6), (170, 122)) & (y > -118) & clothes
        hu = np.select([spine, self.lung, muscle, self.body], [BONE, lung, SOFT, FAT], AIR)
        hu[self.table], hu[self.clothes] = PLATE, CLOTH
        if arms:
            arm = ellipse((np.abs(x), y), (200, -10), (13, 70))
            joined = (np.abs(x) > 110) & (np.abs(x) < 205) & ((np.abs(y - 50) < 8) | (np.abs(y + 65) < 8)) & (z < 80)
            hu[(arm | joined) & ~self.body] = SOFT
            self.body |= arm | joined
        self.hu = noisy(hu)

    def crop(self, box):
        cut = tuple(slice(a, b) for a, b in box)
        for name in ("hu", "body", "lung", "table", "clothes"):
            setattr(self, name, getattr(self, name)[cut])
        return self


def check(trunk, found, *, lost=0.01, air=0.01):
    assert (trunk.lung & ~found).sum() <= lost * trunk.lung.sum()
    assert (trunk.body & ~found).sum() <= lost * trunk.body.sum()
    outside = ~ndimage.binary_dilation(trunk.body, iterations=2)  # 5 mm: the grid of the mask has 3 mm
    assert (found & outside).sum() <= air * outside.sum()
    for thing in (trunk.table, trunk.clothes):
        assert (found & outside & thing).sum() <= 0.02 * max((outside & thing).sum(), 1)


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
