"""First-order and shape features reproduce the published values of the IBSI's digital phantom.

Phantom and values: "The image biomarker standardisation initiative", arXiv:1612.07003 (v11), sections 3.1, 3.3 and 5.1,
with the tolerances and the consensus given there; the phantom is by A. Zwanenburg, CC BY 4.0
(https://github.com/theibsi/data_sets, ibsi_1_digital_phantom).
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.special import eval_legendre

from medseg.statistics import autocorrelation as correlation
from medseg.statistics.features import NAMES, label_features
from medseg.statistics.first_order import first_order
from medseg.statistics.morphology import ellipsoid_of, largest_distance, morphology

# z, y, x; 9 and the corners lie outside the region.
PHANTOM = np.array([
    [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 9, 1, 1], [1, 1, 6, 1, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
], dtype=np.float32).T  # fmt: skip
OUTSIDE = [(0, 2, 1), (3, 0, 2), (4, 0, 2), (2, 2, 2), (3, 0, 3), (4, 0, 3)]
VERY_STRONG, STRONG, MODERATE = 10, 6, 3
"""Teams, at least, that found the value."""
# Value, tolerance (half of the last digit where none is given), consensus.
PUBLISHED = {
    "stat_mean": (2.15, 0.005, VERY_STRONG), "stat_var": (3.05, 0.005, VERY_STRONG),
    "stat_skew": (1.08, 0.005, VERY_STRONG), "stat_kurt": (-0.355, 0.0005, VERY_STRONG),
    "stat_median": (1, 0, VERY_STRONG), "stat_min": (1, 0, VERY_STRONG), "stat_p10": (1, 0, VERY_STRONG),
    "stat_p90": (4, 0, VERY_STRONG), "stat_max": (6, 0, VERY_STRONG), "stat_iqr": (3, 0, VERY_STRONG),
    "stat_range": (5, 0, VERY_STRONG), "stat_mad": (1.55, 0.005, VERY_STRONG), "stat_rmad": (1.11, 0.005, VERY_STRONG),
    "stat_medad": (1.15, 0.005, VERY_STRONG), "stat_cov": (0.812, 0.0005, VERY_STRONG),
    "stat_qcod": (0.6, 0, VERY_STRONG), "stat_energy": (567, 0, VERY_STRONG), "stat_rms": (2.77, 0.005, VERY_STRONG),
    "morph_vol": (556, 4, VERY_STRONG), "morph_approx_vol": (592, 4, VERY_STRONG), "morph_area": (388, 3, VERY_STRONG),
    "morph_av": (0.698, 0.004, VERY_STRONG), "morph_comp_1": (0.0411, 0.0003, STRONG),
    "morph_comp_2": (0.599, 0.004, STRONG), "morph_sph_dispr": (1.19, 0.01, STRONG),
    "morph_sphericity": (0.843, 0.005, VERY_STRONG), "morph_asphericity": (0.186, 0.001, STRONG),
    "morph_com": (0.672, 0.004, VERY_STRONG), "morph_diam": (13.1, 0.1, STRONG),
    "morph_pca_major": (11.4, 0.1, VERY_STRONG), "morph_pca_minor": (9.31, 0.06, VERY_STRONG),
    "morph_pca_least": (8.54, 0.05, VERY_STRONG), "morph_pca_elongation": (0.816, 0.005, VERY_STRONG),
    "morph_pca_flatness": (0.749, 0.005, VERY_STRONG), "morph_v_dens_aabb": (0.869, 0.005, STRONG),
    "morph_a_dens_aabb": (0.866, 0.005, STRONG), "morph_v_dens_aee": (1.17, 0.01, MODERATE),
    "morph_a_dens_aee": (1.36, 0.01, MODERATE), "morph_v_dens_conv_hull": (0.961, 0.006, STRONG),
    "morph_a_dens_conv_hull": (1.03, 0.01, STRONG), "morph_integ_int": (1200, 10, MODERATE),
    "morph_moran_i": (0.0397, 0.0003, STRONG), "morph_geary_c": (0.974, 0.006, STRONG),
}  # fmt: skip


def image_of(voxels, spacing_mm=(2.0, 2.0, 2.0)):
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels))[None], affine=affine)


def region():
    labels = np.ones(PHANTOM.shape, np.uint8)
    labels[tuple(np.transpose(OUTSIDE))] = 0
    return labels


@pytest.fixture(scope="module")
def found():
    (features,) = label_features(image_of(PHANTOM), region(), (1, 2), unit="as stored")
    assert (features.label, features.unit, int(region().sum())) == (1, "as stored", 74)
    return features.values


def test_every_feature_has_a_published_value(found):
    assert tuple(found) == NAMES
    assert set(NAMES) == set(PUBLISHED)
    assert min(n_teams for _, _, n_teams in PUBLISHED.values()) >= MODERATE


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_digital_phantom_has_the_published_value(name, found):
    value, tolerance, _ = PUBLISHED[name]
    assert found[name] == pytest.approx(value, abs=max(tolerance, 1e-6))


def test_turning_the_axes_changes_nothing(found):
    turned = label_features(image_of(PHANTOM.transpose(2, 0, 1)[:, ::-1]), region().transpose(2, 0, 1)[:, ::-1], (1,),
                            unit="")  # fmt: skip
    assert turned[0].values == pytest.approx(found, rel=1e-5)


def test_several_labels_in_one_map_are_each_their_own_region(found):
    labels = np.zeros((12, 9, 8), np.uint16)
    voxels = np.full(labels.shape, 7, np.float32)
    labels[5:10, 3:7, 2:6], voxels[5:10, 3:7, 2:6] = region() * np.uint16(300), PHANTOM
    labels[0:3, 0:2, 0:2] = 4
    one, other = label_features(image_of(voxels), labels, (4, 300), unit="")
    assert other.values == pytest.approx(found, rel=1e-5)
    assert one.values["morph_approx_vol"] == 12 * 8
    assert (one.values["stat_var"], one.values["stat_skew"], one.values["stat_kurt"]) == (0, 0, 0)
    assert "morph_moran_i" not in one.values


def test_a_single_voxel_has_no_axes_to_compare():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 1
    (one,) = label_features(image_of(np.zeros((3, 3, 3), np.float32), (1, 2, 3)), labels, (1,), unit="")
    assert one.values["morph_approx_vol"] == 6
    # Half a voxel away on every side: an octahedron.
    assert one.values["morph_vol"] == pytest.approx(6 / 6)
    assert one.values["morph_diam"] == pytest.approx(3)
    assert not {"morph_pca_elongation", "morph_v_dens_aee", "morph_com", "stat_cov", "stat_qcod"} & set(one.values)


def test_a_ball_is_round_and_has_its_volume():
    axes = [np.arange(-20, 21) * spacing for spacing in (1.0, 0.7, 1.3)]
    inside = sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij")) <= 12**2
    ball = morphology(inside, (1.0, 0.7, 1.3))
    assert ball["morph_vol"] == pytest.approx(4 / 3 * pi * 12**3, rel=0.01)
    assert ball["morph_diam"] == pytest.approx(24, rel=0.06)
    assert ball["morph_sphericity"] > 0.88  # of a surface of steps
    assert ball["morph_v_dens_conv_hull"] > 0.93
    # The axes of a full ball are sqrt(16 / 5) of its radius.
    assert ball["morph_pca_least"] == pytest.approx(12 * 4 / sqrt(5), rel=0.02)


def test_areas_of_ellipsoids_are_those_of_the_published_series():
    def area(a, b, c):
        alpha, beta = sqrt(1 - (b / a) ** 2), sqrt(1 - (c / a) ** 2)
        at = (alpha**2 + beta**2) / (2 * alpha * beta)
        terms = ((alpha * beta) ** n / (1 - 4 * n**2) * eval_legendre(n, at) for n in range(21))
        return 4 * pi * a * b * sum(terms)

    for axes in ((3.0, 2.0, 1.0), (5.7, 4.7, 4.3), (9.0, 8.999, 0.5)):
        assert ellipsoid_of(*axes).area == pytest.approx(area(*axes), rel=1e-9)
    assert ellipsoid_of(3, 3, 2).area == pytest.approx(area(3, 3 - 1e-9, 2), rel=1e-6)
    assert ellipsoid_of(3, 3, 3).area == pytest.approx(4 * pi * 9)
    assert ellipsoid_of(3, 2, 1).volume == pytest.approx(8 * pi)


def test_autocorrelation_is_that_of_all_pairs():
    random = np.random.default_rng(3)
    voxels = random.normal(100, 20, (5, 6, 4)).astype(np.float32)
    inside = random.random(voxels.shape) > 0.4
    spacing = np.array([0.8, 1.5, 3.0])
    points, values = np.argwhere(inside) * spacing, voxels[inside].astype(float)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    weights = np.divide(1, apart, out=np.zeros_like(apart), where=apart > 0)
    centred = values - values.mean()
    n, total, squares = len(values), weights.sum(), (centred**2).sum()
    expected = {
        "morph_moran_i": n / total * (weights * np.outer(centred, centred)).sum() / squares,
        "morph_geary_c": (n - 1) / (2 * total) * (weights * (values[:, None] - values[None]) ** 2).sum() / squares,
    }
    assert correlation.autocorrelation(voxels, inside, spacing.tolist()) == pytest.approx(expected, rel=1e-6)


def test_autocorrelation_of_a_large_region_is_left_out(monkeypatch):
    inside, voxels = np.ones((4, 4, 4), bool), np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    assert set(correlation.autocorrelation(voxels, inside, (1, 1, 1))) == set(correlation.NAMES)
    monkeypatch.setattr(correlation, "MOST_VOXELS", 100)
    assert correlation.autocorrelation(voxels, inside, (1, 1, 1)) == {}


def test_the_largest_distance_is_that_of_all_pairs():
    points = np.random.default_rng(0).normal(size=(2500, 3)) * (1, 5, 2)
    apart = max(float(np.linalg.norm(points - point, axis=1).max()) for point in points)
    assert largest_distance(points) == pytest.approx(apart, rel=1e-9)


def test_ratios_without_a_denominator_are_left_out():
    found = first_order(np.array([-1, 1, -1, 1], dtype=np.float32))
    assert (found["stat_mean"], found["stat_rms"]) == (0, 1)
    assert not {"stat_cov", "stat_qcod"} & set(found)
