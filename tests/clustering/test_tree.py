"""The tree of divisions: cuts are nested, numbers ascend in intensity, joins undo divisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.clustering.tree import LeafTree, parents_of_merges
from medseg.clustering.ward import ward
from medseg.labels.hierarchy import Hierarchy


def tree_of(seed: int, n_leaves: int) -> LeafTree:
    rng = np.random.default_rng(seed)
    parents = np.array([0, *(rng.integers(0, n) for n in range(1, n_leaves))])
    return LeafTree(parents, rng.random(n_leaves), rng.dirichlet(np.ones(n_leaves)))


@given(st.integers(0, 1000), st.integers(3, 32), st.data())
def test_cuts_are_nested_and_the_hierarchy_agrees(seed, n_leaves, data):
    tree = tree_of(seed, n_leaves)
    n_labels = data.draw(st.integers(2, n_leaves))
    hierarchy = Hierarchy.of_leaves(tree, n_labels)
    order = tree.order(n_labels)
    assert np.array_equal(np.sort(order), np.arange(n_leaves))
    for cut in range(2, n_leaves + 1):
        found, expected = hierarchy.numbers(cut)[1:], tree.cut(cut)[order]
        assert len({(a, b) for a, b in zip(found, expected, strict=True)}) == cut == len(set(found))
    assert np.array_equal(hierarchy.numbers(n_labels)[1:], hierarchy.owners)
    means = tree.label_means(n_labels)
    by_number = [means[tree.cut(n_labels)[order[list(hierarchy.owners).index(n)]]] for n in range(1, n_labels + 1)]
    assert by_number == sorted(by_number)


def test_an_agglomeration_becomes_divisions():
    points = np.array([[0.0], [0.1], [5.0], [5.2], [9.0]])
    shares = np.array([0.3, 0.1, 0.2, 0.1, 0.3])
    merges = [(int(a), int(b)) for a, b in ward(points, shares).joins]
    leaf_at, parents = parents_of_merges(merges, shares)
    tree = LeafTree(parents, points[leaf_at, 0], shares[leaf_at])
    for n_labels, groups in ((2, 2), (3, 3), (4, 4)):
        assert len(set(tree.cut(n_labels))) == groups
    three = tree.cut(3)
    label_of = {leaf: three[at] for at, leaf in enumerate(leaf_at)}
    assert label_of[0] == label_of[1] != label_of[2] == label_of[3] != label_of[4]


def test_a_leaf_without_voxels_is_numbered_where_it_would_lie():
    tree = LeafTree(np.array([0, 0, 1]), np.zeros(3), np.ones(3) / 3)
    found = tree.with_means(np.array([0.5, 0.2, 0.0]), np.array([0.6, 0.4, 0.0]), np.array([0.9, 0.9, 0.7]))
    assert list(found.means) == [0.5, 0.2, 0.7]
    assert list(found.label_means(3)) == pytest.approx([0.5, 0.2, 0.7])
    assert list(found.owners(3)) == [1, 2, 3]  # of the leaves of means .2, .5, .7
    assert list(found.order(3)) == [1, 0, 2]


def test_ward_joins_what_is_near_and_weighs_points():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(centre, 0.1, (20, 2)) for centre in (0, 1, 3)])
    tree = ward(points, np.ones(60))
    assert [len(set(tree.cut(3)[20 * n : 20 * n + 20])) for n in range(3)] == [1, 1, 1]
    assert (np.diff(tree.gains) >= 0).all()
    total = ((points - points.mean(axis=0)) ** 2).sum()
    assert tree.gains.sum() == pytest.approx(total, rel=1e-6)
