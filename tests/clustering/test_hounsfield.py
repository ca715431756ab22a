"""Tissues by Hounsfield units: native and enhanced CT, missing peaks, partial volume; and the order of divisions."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.clustering.divisions import AGREEMENT, Cohort, Divisions, Part, agreement, best_threshold
from medseg.clustering.hounsfield import BINS_HU, HounsfieldTissues, evenness, histogram_of, sharpened
from medseg.clustering.ward import ward


def histogram(**peaks: float) -> np.ndarray:
    """Shares of a cohort with a peak of 12 HU at each of these."""
    centres = BINS_HU[:-1] + 2.5
    total = np.sum([np.exp(-0.5 * ((centres - hu) / 12) ** 2) for hu in peaks.values()], axis=0)
    return np.asarray(total / total.sum())


@pytest.mark.parametrize(
    ("peaks", "inside"),
    [
        ({"lung": -850, "fat": -100, "soft": 45}, {-800: 0, -90: 1, 50: 2, 400: 3}),
        ({"lung": -780, "fat": -110, "soft": 50, "enhanced": 160}, {-700: 0, -100: 1, 40: 2, 170: 2, 400: 3}),
        ({"soft": 40}, {-850: 0, -100: 1, 45: 2, 90: 2, 300: 3}),
    ],
)
def test_borders_lie_between_the_peaks(peaks, inside):
    tissues = HounsfieldTissues.fit(histogram(**peaks))
    assert len(tissues) == 4
    for hu, tissue in inside.items():
        assert tissues.of(np.array([hu], dtype=np.float32))[0] == tissue
        low, high = tissues.bounds(tissue)
        assert low < hu < high


def test_partial_volume_has_no_vote_and_is_no_shell():
    hu = np.full((24, 24, 24), -850.0, dtype=np.float32)
    hu[12:] = 50
    hu[11] = -400
    inside = np.ones(hu.shape, dtype=bool)
    even = evenness(hu, (3.0, 3.0, 3.0))
    assert even[11].max() < 0.05
    assert even[0].min() > 0.95
    shares = histogram_of(hu, inside, even)
    assert shares[np.searchsorted(BINS_HU, -400) - 1] < 1e-3
    sharp = sharpened(hu, inside)
    assert set(np.unique(sharp)) == {-850.0, 50.0}
    vessel = np.full((9, 9, 9), -850.0, dtype=np.float32)
    vessel[4, 4] = -200
    assert sharpened(vessel, np.ones(vessel.shape, dtype=bool))[4, 4].min() == -200


def test_agreement_is_the_overlap_of_shares():
    assert agreement(np.array([[1.0, 3.0]])) == 1
    assert agreement(np.array([[1.0, 1.0], [2.0, 2.0]])) == pytest.approx(1)
    assert agreement(np.array([[1.0, 0.0], [0.0, 1.0]])) == 0


def test_a_threshold_is_taken_where_scans_agree():
    values = np.arange(10.0)
    alike = np.array([[5, 0, 0, 0, 0, 0, 0, 0, 0, 5.0]] * 2)
    gain, at = best_threshold(values, alike, np.zeros((2, 0)))
    assert gain > 0
    assert 0 <= at < 9
    unlike = np.array([[9, 0, 0, 0, 0, 0, 0, 0, 0, 1.0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 9.0]])
    assert best_threshold(values, unlike, np.zeros((2, 0))) == (0.0, -1)


def cohort_of(one: list[float], two: list[float]) -> Cohort:
    """Regions at 0, 1 (near each other) and 10: how much of each two scans have."""
    points = np.array([[0.0], [1.0], [10.0]])
    tree = ward(points, np.ones(3))
    masses = np.array([one, two])
    return Cohort(tree, masses, np.zeros((2, 3, 4)), np.arange(4.0), 3)


def test_divisions_that_the_scans_agree_on_come_first():
    agreed = cohort_of([0.3, 0.3, 0.4], [0.31, 0.29, 0.4])
    divisions = Divisions(agreed, [Part(2, frozenset(range(3)))], [0])
    divisions.grow(5)
    assert [len(part.groups) for part in divisions.parts] == [1, 1, 1]
    assert divisions.parents[1:] == [0, 0]
    finest = agreed.group_of
    assert divisions.parts[1].groups == {int(finest[2])}, "the far one is divided off first"
    differing = cohort_of([0.6, 0.0, 0.4], [0.0, 0.6, 0.4])
    divisions = Divisions(differing, [Part(2, frozenset(range(3)))], [0])
    divisions.grow(2)
    assert divisions.parts[1].groups == {int(differing.group_of[2])}
    assert agreement(np.array([[0.6, 0.4], [0.6, 0.4]])) >= AGREEMENT
