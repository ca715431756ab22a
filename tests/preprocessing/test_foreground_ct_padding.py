"""The foreground of CT: what was filled with one number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.preprocessing.fingerprint import is_hounsfield
from tests.support.trunk import MM, Trunk, check, found_in, image_of


def circle(shape, radius):
    i, j = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in shape[:2])]
    return (np.hypot(i, j) <= radius / MM)[..., None] & np.ones(shape, bool)


@pytest.mark.parametrize("radius", [165, 95], ids=["the body ends in it", "it cuts the lungs"])
@pytest.mark.parametrize("value", [-1024, -1500, -2000, -3024, 0])
def test_padding_outside_the_circle_is_not_body(value, radius):
    trunk = Trunk().crop(((18, 158), (0, 136), (0, 24)))
    seen = circle(trunk.hu.shape, radius)
    trunk.hu[~seen] = value
    trunk.body &= seen
    trunk.lung &= seen
    image = image_of(trunk.hu)
    assert is_hounsfield(image)
    check(trunk, found_in(image), lost=0.02)


def test_padding_of_most_of_the_surface_is_no_mask():
    """The sides of a long scan are almost only padding, as of a body that was masked out."""
    trunk = Trunk(depth=300).crop(((18, 158), (0, 136), (0, 120)))
    trunk.hu[~circle(trunk.hu.shape, 165)] = -3024
    check(trunk, found_in(image_of(trunk.hu)), lost=0.02)


@pytest.mark.parametrize("value", [-1024, -2000])
def test_what_a_rotation_filled_is_not_body(value):
    """A corner of every plane, through one lung."""
    trunk = Trunk()
    i, j, k = np.indices(trunk.hu.shape)
    seen = i + j / 2 + k > 100
    trunk.hu[~seen] = value
    for inside in (trunk.body, trunk.lung, trunk.clothes):
        inside &= seen
    assert trunk.lung.sum() < 0.9 * Trunk().lung.sum()
    check(trunk, found_in(image_of(trunk.hu)), lost=0.02)


@pytest.mark.parametrize("number", [-1000, -1024])
def test_air_of_one_number_is_air(number):
    """Clipped and denoised scans have the number of padding in the air around the body, table and clothes."""
    trunk = Trunk()
    trunk.hu = ndimage.gaussian_filter(trunk.hu, 0.8)
    trunk.hu[trunk.hu < -960] = number
    check(trunk, found_in(image_of(trunk.hu.clip(number))))
