"""Confidence and fractions: calibrated, exact sums, and the labels do not notice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import read_labels, read_scan
from medseg.cli.main import main
from medseg.clustering.posteriors import ClusterPosteriors, IntervalPosteriors
from medseg.io.label_volumes import write_shares
from medseg.labels import confidence as certainty
from medseg.labels.confidence import ONE, Fractions, coarse_confidence, confidence_on
from medseg.labels.hierarchy import Groups
from medseg.preprocessing.histogram import Histogram
from medseg.spatial.geometry import Geometry
from medseg.tissues.partial_volume import fraction_table
from sample_data.phantom import phantom
from tests.support.cohorts import manifest, small_grid, write_cohort
from tests.support.scans import load_nifti

SHAPE = (24, 25, 26)
GRID = Geometry(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
INSIDE = np.ones(SHAPE, bool)
MEANS = np.array([0.0, 1.0, 2.5])


def image_of(array):
    return MetaTensor(torch.from_numpy(np.asarray(array, dtype=np.float32)[None]), affine=torch.tensor(GRID.affine))


def intervals(sd=0.3, seed=0):
    """Noisy intensities of three tissues with known truth: (known, noise-free intensities)."""
    randomness = np.random.default_rng(seed)
    true = randomness.uniform(-3.0, 5.5, SHAPE)
    noisy = true + sd * randomness.standard_normal(SHAPE)
    histogram = Histogram.of(noisy.ravel())
    everywhere = image_of(np.ones(SHAPE))
    return IntervalPosteriors(image_of(noisy), image_of(np.full(SHAPE, sd)), everywhere, MEANS, histogram), true


def posteriors(seed=0):
    shares = np.random.default_rng(seed).dirichlet(np.ones(5), SHAPE).transpose(3, 0, 1, 2).astype(np.float32)
    shares[:, 3, 3, 3] = 0  # a voxel that no cluster wants
    scores = MetaTensor(torch.from_numpy(shares), affine=torch.tensor(GRID.affine))
    return ClusterPosteriors(scores, lambda: np.zeros((INSIDE.sum(), 1)))


@pytest.mark.parametrize("sd", [0.1, 0.3, 0.8])
def test_of_the_voxels_said_to_be_80_percent_sure_80_percent_are_right(sd):
    """Uniform true intensities make the posterior of the true one N(u, sd): confidence must equal the hit rate."""
    known, true = intervals(sd)
    labels = (known.scores.as_tensor().argmax(0).numpy() + 1).astype(np.uint8)
    right = labels == np.digitize(true, (MEANS[1:] + MEANS[:-1]) / 2) + 1
    u = known.intensity.as_tensor()[0].numpy()
    middle = (u > 0) & (u < 2.5)
    sure = confidence_on(GRID, known, labels, {n: (n,) for n in (1, 2, 3)}) / ONE
    thirds = [*np.quantile(sure[middle], (0, 1 / 3, 2 / 3)), 1.01]
    for low, high in pairwise(thirds):
        chosen = middle & (sure >= low) & (sure < high)
        assert sure[chosen].mean() == pytest.approx(right[chosen].mean(), abs=0.05)


def test_confidence_of_a_merged_label_is_the_sum_of_its_parts():
    known, _ = intervals()
    labels = np.full(SHAPE, 1, np.uint8)
    whole = confidence_on(GRID, known, labels, {1: (1, 2, 3)})
    assert (whole == ONE).all()
    one, two = (confidence_on(GRID, known, labels, {1: (n,)}).astype(int) for n in (1, 2))
    both = confidence_on(GRID, known, labels, {1: (1, 2)}).astype(int)
    assert np.abs(both - one - two).max() <= 1


@pytest.mark.parametrize("known", [intervals()[0], posteriors()], ids=["scan", "cohort"])
def test_fractions_and_probabilities_sum_to_one_on_any_grid(known):
    fine = Geometry((30, 31, 29), np.diag([1.5, 1.5, 1.5, 1.0]))
    total = known.probabilities(fine).sum(0)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
    n_labels = known.scores.shape[0]
    inside = np.random.default_rng(0).random(fine.shape) > 0.3
    groups = {1: (1,), 2: (2, n_labels), **{n: (n,) for n in range(3, n_labels)}}
    fractions = Fractions(fine, known, inside, groups)
    assert len(fractions) == n_labels - 1
    summed = sum(fractions[number].astype(int) for number in fractions)
    assert np.array_equal(summed, np.where(inside, ONE, 0))


def test_slabs_do_not_show(monkeypatch):
    known, _ = intervals()
    labels = np.where(np.random.default_rng(1).random(SHAPE) > 0.2, 2, 0).astype(np.uint8)
    groups: Groups = {n: (n,) for n in (1, 2, 3)}
    before = confidence_on(GRID, known, labels, groups), Fractions(GRID, known, INSIDE, groups)[2]
    monkeypatch.setattr("medseg.labels.confidence.SLAB_VALUES", 1)
    after = confidence_on(GRID, known, labels, groups), Fractions(GRID, known, INSIDE, groups)[2]
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert (before[0][labels == 0] == 0).all()


def test_fractions_without_noise_are_linear_between_the_tissues():
    mixed = np.random.default_rng(0).uniform(0, 2.5, 50_000)
    values, fractions = fraction_table(Histogram.of(mixed), MEANS, 0.0)
    assert np.allclose(fractions.sum(1), 1)
    wanted = np.stack([np.interp(values, MEANS, row) for row in np.eye(3)], axis=1)
    assert np.abs(fractions - wanted).max() < 0.02


def test_expected_fractions_beat_hard_labels_and_the_straight_line_under_noise():
    randomness = np.random.default_rng(0)
    pure = np.eye(3)[randomness.integers(0, 3, 40_000)]
    share = randomness.uniform(0, 1, (20_000, 1))
    mixed = share * np.eye(3)[1] + (1 - share) * np.eye(3)[randomness.choice([0, 2], 20_000)]
    truth = np.concatenate([pure, mixed])
    noisy = truth @ MEANS + 0.25 * randomness.standard_normal(len(truth))
    values, table = fraction_table(Histogram.of(noisy), MEANS, 0.25)
    found = np.stack([np.interp(noisy, values, column) for column in table.T], axis=1)
    line = np.stack([np.interp(noisy, MEANS, row) for row in np.eye(3)], axis=1)
    hard = np.eye(3)[np.digitize(noisy, (MEANS[1:] + MEANS[:-1]) / 2)]
    absolute = [float(np.abs(guess - truth).mean()) for guess in (found, line, hard)]
    squared = [float(((guess - truth) ** 2).mean()) for guess in (found, line, hard)]
    assert absolute[0] < min(absolute[1:])
    assert squared[0] < 0.9 * min(squared[1:])


def test_labels_do_not_notice_and_unsure_ones_go(model):
    scan = phantom(small_grid(), noise=8.0, seed=1)[0]
    plain = model.segment(scan)
    full = model.segment(scan, outputs={"confidence", "fractions"})
    assert plain.confidence is None
    assert plain.fractions is None
    assert np.array_equal(plain.labels, full.labels)
    assert (full.confidence[plain.labels > 0] >= 80).all()  # at least about a third: the best of three
    assert (full.confidence[plain.labels == 0] == 0).all()
    unsure = model.segment(scan, min_confidence=0.7)
    assert unsure.confidence is None
    gone = (plain.labels > 0) & (full.confidence < 0.7 * ONE)
    assert 0 < gone.mean() < 0.5
    assert np.array_equal(unsure.labels, np.where(gone, 0, plain.labels))


def test_bytes_read_as_shares_in_any_reader(tmp_path):
    values = np.arange(np.prod(SHAPE), dtype=np.int64).reshape(SHAPE).astype(np.uint8)
    write_shares(values, GRID, tmp_path / "a_confidence.nii.gz")
    image = load_nifti(tmp_path / "a_confidence.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.get_fdata(), values / 255, atol=1e-6)
    assert np.allclose(read_scan(tmp_path / "a_confidence.nii.gz")[0].numpy(), values / 255, atol=1e-6)
    assert np.allclose(image.affine, GRID.affine)


@pytest.fixture(scope="module")
def written(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certain")
    write_cohort(folder / "scans", 1)
    words = ["segment", str(folder / "scans"), "--model", str(model_folder), "--device", "cpu", "--workers", "0"]
    assert main([*words, "--out", str(folder / "plain"), "--write", "nifti"]) == 0
    assert main([*words, "--out", str(folder / "all"), "--write", "nifti,confidence,fractions"]) == 0
    return folder, words


def test_files_appear_and_the_labels_are_the_same_bytes(written):
    folder, _ = written
    names = {path.name for path in (folder / "all").glob("*.nii.gz")}
    assert names == {"good000_seg.nii.gz", "good000_confidence.nii.gz",
                     *(f"good000_fraction{n}.nii.gz" for n in (1, 2, 3))}  # fmt: skip
    first, second = ((folder / out / "good000_seg.nii.gz").read_bytes() for out in ("plain", "all"))
    assert first == second
    images = [load_nifti(folder / "all" / f"good000_fraction{n}.nii.gz") for n in (1, 2, 3)]
    total = np.sum([image.get_fdata() for image in images], axis=0)
    assert np.allclose(total[total > 0], 1, atol=1e-5)


def test_resume_notices_a_missing_fraction_and_another_threshold(written):
    folder, words = written
    out = folder / "all"
    again = [*words, "--out", str(out), "--write", "nifti,confidence,fractions"]
    made = (out / "good000_seg.nii.gz").stat().st_mtime_ns
    assert main(again) == 0
    assert (out / "good000_seg.nii.gz").stat().st_mtime_ns == made
    (out / "good000_fraction2.nii.gz").unlink()
    assert main(again) == 0
    assert (out / "good000_fraction2.nii.gz").is_file()
    before = read_labels(out / "good000_seg.nii.gz")[0]
    assert main([*again, "--min-confidence", "0.9"]) == 0
    after = read_labels(out / "good000_seg.nii.gz")[0]
    assert 0 < (after > 0).sum() < (before > 0).sum()
    volume = float(manifest(out)["good000"]["1 label 1 mm3"])
    assert volume == pytest.approx((after == 1).sum() * 64.0, rel=1e-3)


def test_a_threshold_that_is_no_probability_is_refused(written, capsys):
    _, words = written
    with pytest.raises(SystemExit):
        main([*words, "--out", "nowhere", "--min-confidence", "60"])
    assert "expected a probability" in capsys.readouterr().err


def test_fractions_follow_names_but_not_merges(written, model, tmp_path, capsys):
    _, words = written
    model.save(tmp_path / "model")
    words = [word if word != words[3] else str(tmp_path / "model") for word in words]
    again = [*words, "--out", str(tmp_path / "out"), "--write", "nifti,fractions"]
    assert main(again) == 0
    assert main(["label", str(tmp_path / "model"), "--name", "1=fluid", "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(["label", str(tmp_path / "model"), "--merge", "1,2", "--out", str(tmp_path / "out")]) == 1
    assert "good000_fraction1.nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 1.0, 4.0)])
def test_the_coarse_confidence_is_the_confidence_on_fewer_voxels(spacing, monkeypatch):
    known, _ = intervals(0.8)
    labels = (known.scores.as_tensor().argmax(0).numpy() + 1).astype(np.uint8)
    labels[:3] = 0
    labels[:, :, -2:] = 0
    groups: Groups = {n: (n,) for n in (1, 2, 3)}
    whole = coarse_confidence(GRID, known, labels, groups)
    assert whole is not None
    expected = confidence_on(GRID, known, labels, groups)[3:, :, :-2]
    assert np.array_equal(whole.as_tensor()[0].numpy(), np.maximum(expected, 1))
    assert Geometry.of(whole).is_close(GRID.crop((3, 0, 0), expected.shape))
    monkeypatch.setattr(certainty, "COARSE_VOXELS", 1500)
    native = Geometry(SHAPE, np.diag([*spacing, 1.0]))
    small = coarse_confidence(native, known, labels, groups)
    assert small is not None
    assert small[0].numel() <= 1800
    steps = np.asarray(Geometry.of(small).spacing_mm)
    assert steps.min() >= min(spacing)
    assert steps.max() <= max(2 * steps.min(), *spacing)
    last = native.to_index(Geometry.of(small).to_world([[n - 1 for n in small.shape[1:]]]))[0]
    assert np.all(last <= np.array([23, 24, 23]))
    assert np.all(last >= np.array([23, 24, 23]) - steps / np.asarray(spacing))


def test_without_labels_there_is_no_coarse_confidence():
    assert coarse_confidence(GRID, intervals()[0], np.zeros(SHAPE, np.uint8), {1: (1,)}) is None
