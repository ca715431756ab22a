"""Regions follow edges, and features flow inside them, not across."""

from __future__ import annotations

import numpy as np

from medseg.clustering.regions import contacts, diffused, enlarged, region_means, region_sizes, supervoxels

SPACING = (3.0, 3.0, 3.0)


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Two halves 40 HU apart, in units of 60 HU, and where they lie."""
    left = np.zeros((30, 24, 24), dtype=bool)
    left[:15] = True
    noise = np.random.default_rng(0).normal(0, 3, left.shape)
    return (np.where(left, 20, 60) + noise).astype(np.float32), left


def test_regions_follow_the_edge_and_stay_inside_the_mask():
    image, left = halves()
    mask = np.ones(left.shape, dtype=bool)
    mask[:, :4] = False
    regions = supervoxels((image / 60).astype(np.float32), mask, SPACING)
    assert ((regions > 0) == mask).all()
    assert set(np.unique(regions)) == set(range(int(regions.max()) + 1))
    share = region_means(regions, left.astype(np.float32))
    pure = region_sizes(regions)[(share < 0.1) | (share > 0.9)].sum() / mask.sum()
    assert pure > 0.95


def test_features_flow_inside_a_half_and_not_across():
    image, left = halves()
    regions = supervoxels((image / 60).astype(np.float32), np.ones(left.shape, dtype=bool), SPACING)
    means, side = region_means(regions, image), region_means(regions, left.astype(np.float32)) > 0.5
    graph = contacts(regions, means, 8.0)
    rows = np.asarray(graph.sum(axis=1)).ravel()
    assert np.allclose(rows[rows > 0], 1)
    features = np.random.default_rng(1).normal(size=(len(means), 1)) + 3 * side[:, None]
    found = diffused(features, graph)
    assert found[side].std() < 0.2 * features[side].std()
    assert found[side].mean() - found[~side].mean() > 2.5


def test_a_region_that_touches_none_keeps_its_features():
    regions = np.zeros((9, 3, 3), dtype=np.int32)
    regions[0], regions[8] = 1, 2
    graph = contacts(regions, np.array([1.0, 2.0]), 8.0)
    features = np.array([[1.0], [2.0]])
    assert np.array_equal(diffused(features, graph), features)


def test_cells_are_enlarged_to_the_scan():
    cells = np.arange(8.0, dtype=np.float32).reshape(2, 2, 2)
    fine = enlarged(cells, (3, 4, 3))
    assert fine.shape == (3, 4, 3)
    assert (fine[:2, :2, :2] == 0).all()
    assert fine[2, 3, 2] == 7
