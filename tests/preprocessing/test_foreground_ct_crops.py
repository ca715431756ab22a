"""The foreground of CT: heads, and crops that hold no outside air."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.preprocessing.fingerprint import is_hounsfield
from tests.support.trunk import AIR, FAT, LUNG, MM, PLATE, SOFT, ellipse, found_in, image_of, noisy


def abdomen(shape=(60, 60, 40), seed=0):
    """Fat and soft tissue side by side, as inside an abdomen; a smooth random pattern of 20 mm."""
    rng = np.random.default_rng(seed)
    pattern = ndimage.gaussian_filter(rng.standard_normal(shape), 4)
    return noisy(np.where(pattern > np.quantile(pattern, 0.35), SOFT, FAT), seed=seed)


@pytest.mark.parametrize("gas", ["none", "inside", "cut"])
def test_a_scan_that_is_all_body_is_all_foreground(gas):
    hu = abdomen()
    i, j, k = np.indices(hu.shape) * MM
    if gas != "none":
        bubble = ellipse((i, j, k), (75 if gas == "inside" else 8, 75, 50), (25, 25, 30))
        hu[bubble] = noisy(np.full(bubble.sum(), float(AIR)))
    image = image_of(hu)
    assert is_hounsfield(image)
    assert found_in(image).all()


@pytest.mark.parametrize("lung", [-900, LUNG, -700])
def test_a_scan_that_is_all_lung_is_all_foreground(lung):
    i, j, _ = np.indices((50, 50, 40)) * MM
    vessels = np.hypot(i % 25 - 12, j % 25 - 12) < 4
    image = image_of(noisy(np.where(vessels, SOFT, lung)))
    assert is_hounsfield(image)
    assert found_in(image).all()


def test_lung_behind_a_thin_wall_is_body_where_nothing_else_is():
    i, j, _ = np.indices((60, 60, 40)) * MM
    vessels = np.hypot(i % 25 - 12, j % 25 - 12) < 3
    wall = (i >= 100) & (i < 106)
    found = found_in(image_of(noisy(np.select([i >= 106, wall | vessels], [AIR, SOFT], LUNG))))
    assert found[i < 100].all()
    assert not found[i > 115].any()


def test_a_narrow_opening_does_not_empty_the_windpipe():
    """A neck of 120 mm with a windpipe of 16 mm, from which 8 mm lead to the front through half of the planes."""
    i, j, k = np.meshgrid(np.arange(-100, 100, 2), np.arange(-100, 100, 2), np.arange(0, 80, 2), indexing="ij")
    body, windpipe = np.hypot(i, j) < 60, np.hypot(i, j - 20) < 8
    opening = (np.abs(i) < 4) & (j > 20) & (k > 20) & (k < 60)
    found = found_in(image_of(noisy(np.where(body & ~windpipe & ~opening, SOFT, AIR)), (2, 2, 2)))
    assert found[windpipe].mean() > 0.99
    assert found[~body].mean() < 0.01


def head():
    """A head with sinuses, nostrils of 8 mm open below, ear canals of 7 mm that lead to a cavity, and a head rest."""
    spacing = (1.0, 1.0, 3.0)
    i, j, k = np.meshgrid(np.arange(-120, 120), np.arange(-130, 130), np.arange(-60, 100, 3), indexing="ij")
    side = np.abs(i)
    skin, skull, brain = (ellipse((i, j, k), (0, 0, 0), (75 - d, 95 - d, 90 - d)) for d in (0, 6, 14))
    nose = ellipse((i, j, k), (0, 92, -20), (18, 22, 20))
    cavities = ellipse((i, j, k), (0, 60, -20), (14, 28, 20)) | ellipse((i, j, k), (0, 75, 20), (22, 8, 12))
    cavities |= ellipse((side, j, k), (45, 0, 0), (9, 9, 9))
    nostrils = (np.hypot(side - 7, j - 98) < 4) & (k < -20) | (np.hypot(side - 7, k + 20) < 4) & (j > 70) & (j < 98)
    canals = (np.hypot(j, k) < 3.5) & (side > 45)
    rest = (np.abs(np.hypot(i, j) - 112) < 2) & (j < -20)
    body = skin | nose
    air = cavities | ((nostrils | canals) & body)
    hu = np.select([air, brain, skull & ~brain, body, rest], [AIR, 35, 900, SOFT, PLATE], AIR)
    return noisy(hu, 10), body, cavities, rest, spacing


def test_the_air_in_a_head_is_body():
    hu, body, cavities, rest, spacing = head()
    found = found_in(image_of(hu, spacing))
    assert (cavities & ~found).sum() <= 0.01 * cavities.sum()
    assert (body & ~found).sum() <= 0.01 * body.sum()
    assert (rest & found).sum() <= 0.01 * rest.sum()
    assert (found & ~ndimage.binary_dilation(body, np.ones((7, 7, 3)))).mean() < 0.001


def test_a_head_that_was_masked_out_is_taken_voxel_by_voxel():
    hu, body, *_, spacing = head()
    for value in (-1024, -2000):
        image = image_of(np.where(body, np.maximum(hu, -100), value), spacing)
        assert (found_in(image) == body).mean() > 0.9999
