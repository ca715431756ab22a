"""Shares of labels around a voxel: all at once, the same as one volume after the other."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.clustering.surroundings import evenly_drawn, shares_around
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample


def scan_of(inside, spacing_mm):
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))
    mask = MetaTensor(torch.from_numpy(inside[None].astype(np.float32)), affine=affine)
    return Prepared(mask, mask, mask)


def one_by_one(posteriors, inside, spacing_mm, sigma_mm):
    """Means over blocks of a padded volume, a Gaussian, and the interpolation that every other volume gets."""
    blocks = [max(1, int(sigma_mm / s / 2)) for s in spacing_mm]
    sigma = [
        np.sqrt(max((sigma_mm / s) ** 2 - (b**2 - 1) / 12, 0)) / b for s, b in zip(spacing_mm, blocks, strict=True)
    ]
    grid, columns = Geometry(cast(tuple[int, int, int], inside.shape), np.eye(4)), []
    for column in posteriors.T:
        volume = np.zeros(inside.shape, np.float32)
        volume[inside] = column
        padded = np.pad(volume, [(0, -n % b) for n, b in zip(inside.shape, blocks, strict=True)], mode="edge")
        (i, j, k), (a, b, c) = padded.shape, blocks
        means = padded.reshape(i // a, a, j // b, b, k // c, c).mean(axis=(1, 3, 5))
        smooth = ndimage.gaussian_filter(means, sigma, truncate=3)[None].astype(np.float32)
        coarse = MetaTensor(torch.from_numpy(smooth), affine=torch.from_numpy(grid.lattice(blocks).affine.copy()))
        columns.append(resample(coarse, grid).as_tensor()[0].numpy()[inside])
    found = np.maximum(np.stack(columns, axis=1), 0)
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-6)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 23)] * 3), spacing_mm=st.tuples(*[st.floats(0.7, 6.0)] * 3),
    sigma_mm=st.floats(1.0, 12.0), seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_what_one_volume_after_the_other_gives(shape, spacing_mm, sigma_mm, seed):
    drawn = np.random.default_rng(seed)
    inside = drawn.random(shape) < 0.7
    inside.flat[0] = True
    posteriors = drawn.random((np.count_nonzero(inside), 3), dtype=np.float32) + np.float32(0.01)
    found = shares_around(posteriors, scan_of(inside, spacing_mm), sigma_mm)
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)
    scan = scan_of(inside, spacing_mm)
    spacing = Geometry.of(scan.image).spacing_in_person_mm
    assert found == pytest.approx(one_by_one(posteriors, inside, spacing, sigma_mm), abs=2e-5)


def test_a_half_sees_the_other_half_near_the_border_only():
    inside = np.ones((40, 12, 12), dtype=bool)
    first = np.indices(inside.shape)[0][inside] < 20
    shares = shares_around(np.stack([first, ~first], axis=1).astype(np.float32), scan_of(inside, (1, 1, 1)), 4.0)
    along = shares[:, 0].reshape(inside.shape).mean(axis=(1, 2))
    assert along[:4] == pytest.approx(1, abs=0.01)
    assert along[-4:] == pytest.approx(0, abs=0.01)
    assert (np.diff(along) <= 1e-5).all()
    assert 0.4 < along[19:21].mean() < 0.6


@pytest.mark.parametrize("size", [39, 40])
@pytest.mark.parametrize("stretch", [3, 4, 5])
def test_some_voxels_tell_nearly_the_same(size, stretch):
    inside = np.ones((size, size, size), dtype=bool)
    share = ndimage.gaussian_filter(np.random.default_rng(0).random(inside.shape), 3)
    first = (share > np.median(share))[inside]
    posteriors = np.stack([first, ~first], axis=1).astype(np.float32)
    whole = shares_around(posteriors, scan_of(inside, (1, 1, 1)), 6.0)
    drawn = evenly_drawn(inside.size, inside.size // stretch)
    assert len(drawn) == inside.size // stretch
    difference = np.abs(shares_around(posteriors[drawn], scan_of(inside, (1, 1, 1)), 6.0, drawn) - whole[drawn])
    assert difference.max() < 0.1
    assert difference.mean() < 0.01


def test_few_voxels_are_all_drawn():
    assert np.array_equal(evenly_drawn(7, 10), np.arange(7))


def test_what_is_found_once_is_not_made_again():
    store, image, other = Store(), torch.zeros(2), torch.zeros(2)
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    found = [store.once(where, key, make) for key, where in (("a", image), ("a", image), ("b", image), ("a", other))]
    assert found == [1, 1, 2, 3]
