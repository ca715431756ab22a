"""Quality control: the statistics against their definitions, and faults found on phantoms while good scans pass."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import stats

from medseg import Model, load_config
from medseg.clustering.posteriors import ClusterPosteriors
from medseg.preprocessing.prepare import Prepared
from medseg.quality.measures import KINDS, Flag, Kind, Measures
from medseg.quality.metrics import edge_strength, measure, reconstruction_error
from medseg.quality.reference import FALSE_FLAGS, QualityReference, Usual
from sample_data.faults import FAULTS, another_body_part, ghosting, person

N_TRAINING = 8


@pytest.fixture(scope="module")
def cohort_model():
    scans = [person(seed) for seed in range(N_TRAINING)]
    return Model.fit(scans, load_config("smoke", ["training.max_steps=20"]), device="cpu")


def test_the_spread_is_median_and_mad():
    values = [10.0, 11.0, 12.0, 13.0, 14.0, 40.0, 41.0, 12.0, 13.0, 11.0]  # absolute deviations' median 1.5
    usual = Usual.of(values)
    assert usual.median == 12.5
    assert usual.mad_sd == pytest.approx(1.4826 * 10 / 9.2 * 1.5)


def test_the_mad_of_few_gaussian_values_is_unbiased():
    draws = np.random.default_rng(0).standard_normal((4000, 5))
    assert np.mean([Usual.of(row).mad_sd for row in draws]) == pytest.approx(1.0, abs=0.04)


def test_one_scan_flags_only_by_the_prior():
    usual = Usual.of([3.0])
    assert usual.mad_sd == 0
    assert usual.reach(0.1, 0.01) == pytest.approx(stats.t.isf(0.005, 4) * 0.1 * 2**0.5)


@pytest.mark.parametrize("n_scans", [1, 3, 10, 40])
def test_at_most_one_good_scan_of_twenty_is_flagged(n_scans):
    """Gaussian measures whose spread is the prior's: the share of flagged scans stays below what was promised."""
    randomness = np.random.default_rng(n_scans)
    sds = np.array([kind.prior_sd for kind in KINDS.values()])
    flagged = 0
    for _ in range(400):
        told = randomness.standard_normal((n_scans + 1, len(sds))) * sds
        cohort = [_measures(row) for row in told]
        flagged += bool(QualityReference.fit(cohort[:-1], 3).flags(cohort[-1], 3))
    assert flagged / 400 <= FALSE_FLAGS + 0.02  # two standard errors of 400 draws


def _measures(row):
    centres = {"ratio": 5.0, "share": 0.3, "correlation": 0.2, "difference": 0.5}
    values = {}
    for (name, kind), offset in zip(KINDS.items(), row, strict=True):
        values[name] = kind.restored(kind.compared(centres[kind.scale]) + offset) / kind.factor
    return Measures(values)


def size_and_share(foreground_ml: float, share: float) -> Measures:
    return Measures({"foreground_ml": foreground_ml}, {2: {"share": share}})


def test_a_flag_says_what_was_found_and_expected():
    reference = QualityReference.fit([size_and_share(v, 0.4) for v in (90.0, 100.0, 110.0)], 3)
    (flag,) = reference.flags(size_and_share(900.0, 0.4), 3)
    assert str(flag).startswith("foreground volume 900 ml, expected ")
    assert flag.low < 100 < flag.high < 900
    assert flag.low * flag.high == pytest.approx(100**2)
    shares = reference.flags(size_and_share(100.0, 0.99), 3)
    assert str(shares[0]).startswith("label 2 share 99 %, expected ")
    assert (shares[0].measure, shares[0].label, shares[0].unit) == ("share", 2, "%")
    assert shares[0].high < 100


def test_measures_of_labels_hold_for_the_same_number_of_labels_only():
    reference = QualityReference.fit([size_and_share(1.0, 0.4)], 3)
    assert reference.flags(size_and_share(1.0, 0.999), 3)
    assert reference.flags(size_and_share(1.0, 0.999), 4) == ()


@pytest.mark.parametrize("scale", ["ratio", "share", "correlation", "difference"])
def test_restored_undoes_compared(scale):
    kind = Kind("", 0.1, scale)
    assert kind.restored(kind.compared(0.37)) == pytest.approx(0.37)
    assert Kind("", 0.1, "ratio").compared(0.0) == log(1e-3)


def test_what_noise_explains_is_no_edge():
    image = person(0)
    noise = image.clone()
    noise[0] = torch.from_numpy(5 * np.random.default_rng(0).standard_normal(tuple(image.shape[1:])))
    everywhere = image.clone()
    everywhere[:] = 1
    assert edge_strength(noise, everywhere, 5.0) < 1.0
    step = image.clone()
    step[:] = 0
    step[0, 20:] = 10
    n_pairs = step.shape[1] - 1
    expected = (100 / n_pairs / 3) ** 0.5  # one of the pairs along one of three axes differs by 10
    assert edge_strength(step, everywhere, 0.0) == pytest.approx(expected, rel=0.05)


def test_good_scans_pass_and_faults_are_flagged(cohort_model):
    good = [bool(cohort_model.segment(person(seed)).flags) for seed in range(100, 105)]
    assert sum(good) <= 1
    found = {name: cohort_model.segment(fault(person(101), 101)).flags for name, fault in FAULTS.items()}
    found["another body part"] = cohort_model.segment(another_body_part(0)).flags
    assert all(found.values()), found


def test_the_reference_is_kept_and_holds_no_name(cohort_model, tmp_path):
    cohort_model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model", device="cpu")
    assert again.quality == cohort_model.quality
    usual = [*again.quality.scan.values(), *(u for label in again.quality.labels.values() for u in label.values())]
    assert {u.n_scans for u in usual} <= set(range(1, N_TRAINING + 1))
    assert set(again.quality.scan) == set(KINDS)
    assert set(again.quality.labels) == {1, 2, 3}


def test_measures_do_not_depend_on_the_scale_of_intensities(cohort_model):
    image = person(3)
    first = cohort_model.segment(image).quality.as_columns()
    second = cohort_model.segment(type(image)(image.as_tensor() * 7.3, affine=image.affine)).quality.as_columns()
    assert second == pytest.approx(first, rel=0.02, abs=0.02)


def test_a_scan_smaller_than_a_patch_is_measured(cohort_model):
    image = person(3)
    small = type(image)(image.as_tensor()[:, 10:28, 10:30, 12:26].clone(), affine=image.affine)
    foreground = type(image)(torch.ones(small.shape), affine=image.affine)
    scaled = type(image)(small.as_tensor() / 1000, affine=image.affine)
    prepared = Prepared(scaled, foreground, scaled)
    assert np.isfinite(reconstruction_error(cohort_model.network, prepared))
    known = cohort_model.clusters.posteriors(cohort_model.network, prepared)
    values = measure(cohort_model.network, prepared, known).as_columns()
    assert 0 <= values["unsure_share"] <= 1
    assert all(np.isfinite(value) for value in values.values())


def below_surfaces(network, values, inside, affine):
    """Brightness below the surfaces along each axis, by its name."""
    image, foreground = (MetaTensor(torch.from_numpy(x[None]).float(), affine=affine) for x in (values, inside))
    prepared = Prepared(image, foreground, image)
    found = measure(network, prepared, ClusterPosteriors(foreground, lambda: np.zeros((1, 1))))
    return {name: value for name, value in found.scan.items() if name.startswith("surface_brightness_")}


def test_motion_darkens_what_lies_below_the_surfaces_along_it(cohort_model):
    """By numbers: a cube whose two faces towards back and front are half as bright as the rest."""
    inside = np.zeros((60, 60, 60), dtype=bool)
    inside[5:55, 5:55, 5:55] = True
    values = np.where(inside, 1.0, 0.0).astype(np.float32)
    values[:, 5:15] *= 0.5
    values[:, 45:55] *= 0.5
    found = below_surfaces(cohort_model.network, values, inside, torch.eye(4))
    share = 1 - 0.5 * 20 / 50  # mean below the other faces
    expected = 4.5 * 0.5 / (0.5 + 2 * share) - 1.5
    assert found["surface_brightness_ap"] == pytest.approx(expected, abs=0.01)
    assert sum(found.values()) == pytest.approx(0, abs=1e-6)
    assert below_surfaces(cohort_model.network, values, inside, torch.diag(torch.tensor([0.5, 0.5, 0.5, 1]))) == {}


def test_motion_is_seen_from_its_own_axis(cohort_model):
    moved = []
    for seed in range(4):
        found = [brightness(cohort_model.network, image) for image in (person(seed), ghosting(person(seed), seed))]
        moved.append([after - before for before, after in zip(*found, strict=True)])
    along = np.abs(np.median(moved, axis=0))
    assert along.argmax() == 1  # back to front, where the phantom's motion is planted
    assert along[1] > 0.04


def brightness(network, image):
    values = image.as_tensor()[0].numpy()
    return list(below_surfaces(network, values, values != values[0, 0, 0], image.affine).values())


@pytest.mark.parametrize(("flag", "is_inverted"), [
    (Flag("depth_correlation", -0.4, 0.2, 0.6, ""), True), (Flag("depth_correlation", 0.3, -0.7, -0.2, ""), True),
    (Flag("depth_correlation", -0.05, 0.2, 0.6, ""), False), (Flag("depth_correlation", 0.1, 0.2, 0.6, ""), False),
    (Flag("depth_correlation", -0.4, -0.1, 0.6, ""), False), (Flag("depth", -0.4, 0.2, 0.6, "", 1), False),
])  # fmt: skip
def test_contrast_opposite_to_the_training_scans_is_called_inverted(flag, is_inverted):
    assert flag.is_inverted_contrast is is_inverted
    assert str(flag).startswith("contrast inverted: correlation of brightness with depth") is is_inverted


def test_a_scan_of_the_other_contrast_is_flagged_so():
    model = Model.fit([person(n) for n in range(4)], load_config("smoke"), device="cpu")
    scan = person(5)
    inside = scan.as_tensor() > 0
    other = torch.where(inside, scan.max() + scan[inside].min() - scan.as_tensor(), 0.0)
    flags = model.segment(MetaTensor(other, affine=scan.affine)).flags
    assert any(flag.is_inverted_contrast for flag in flags), flags
    assert not any(flag.is_inverted_contrast for flag in model.segment(scan).flags)
