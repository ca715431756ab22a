"""Scores against second implementations: tools/score.py, MONAI, scikit-learn, SimpleITK."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import DiceMetric
from monai.metrics.surface_dice import compute_surface_dice
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from medseg.errors import ConfigError, InputError
from medseg.evaluation.evaluate import evaluate, evaluate_folders
from medseg.evaluation.overlap import (
    adjusted_rand_index,
    confusion,
    dice_per_class,
    match_labels,
    normalized_mutual_information,
)
from medseg.evaluation.surface_distance import SurfaceDistances
from medseg.io.label_volumes import write_labels
from medseg.spatial.geometry import Geometry
from tests.support.labelled_pairs import SHAPE, SPACING_MM, Ints, blocks, cohort, pair
from tests.support.paths import SHARED

SCORE = SHARED / "tools" / "score.py"


def ball(
    center: tuple[float, float, float], radius: float, shape: tuple[int, ...] = (24, 22, 20)
) -> npt.NDArray[np.bool_]:
    index = np.indices(shape).reshape(3, -1).T - center
    return np.asarray(np.linalg.norm(index * SPACING_MM, axis=1) <= radius).reshape(shape)


BALLS = [
    (ball((10, 10, 9), 6.0), ball((12, 11, 9), 7.0)),
    (ball((2, 2, 2), 6.0), ball((12, 11, 9), 7.0)),
    (ball((12, 11, 9), 8.0), ball((12, 11, 9), 4.0)),
    (ball((12, 11, 9), 5.0), ball((12, 11, 9), 5.0)),
]


@pytest.mark.parametrize(
    ("how", "per_scan", "high"),
    [("one", False, 3), ("one", True, 4), ("many", False, 7), ("many", True, 7)],
)
def test_equals_score_py(tmp_path: Path, how: str, per_scan: bool, high: int) -> None:
    if not SCORE.exists():
        pytest.skip(f"{SCORE} does not exist")
    pairs, grid = cohort(high), Geometry(SHAPE, np.diag([*SPACING_MM, 1.0]))
    rows = ["prediction,truth"]
    for p in pairs:
        for kind, labels in (("seg", p.prediction), ("truth", p.truth)):
            write_labels(labels, grid, tmp_path / f"{p.name}_{kind}.nii")
        rows.append(f"{tmp_path}/{p.name}_seg.nii,{tmp_path}/{p.name}_truth.nii")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    command = [sys.executable, str(SCORE), str(tmp_path / "pairs.csv"), "--mapping", how, "--classes", "1", "9"]
    command += ["--per-case"] if per_scan else []
    expected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    found = evaluate_folders(
        tmp_path, tmp_path, how=how, per_scan=per_scan, classes=(1, 9), tolerance_mm=None  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.n_labels == expected["n_labels"]
    assert {str(k): v for k, v in found.label_to_class.items()} == expected["label_to_class"]
    assert found.dice == pytest.approx(expected["mean"], abs=1e-4)
    assert found.worst_dice == pytest.approx(expected["worst_case"], abs=1e-4)
    for value, dice in found.dice_of_classes.items():
        assert dice == pytest.approx(expected["classes"][str(value)]["mean"], abs=1e-4)
    for scan in found.scans:
        each = expected["each"][f"{tmp_path}/{scan.name}_seg.nii"]
        assert [m.dice for m in scan.classes.values()] == pytest.approx(each, abs=1e-4, nan_ok=True)
    assert math.isnan(found.scans[2].classes[9].dice)


def test_dice_equals_monai() -> None:
    truth = blocks(0, 4)
    prediction = blocks(1, 4)
    prediction[blocks(2, 4) > 0] = truth[blocks(2, 4) > 0]
    table = confusion(prediction, truth, np.ones(SHAPE, dtype=bool), 4, 4)
    metric = DiceMetric(include_background=True, reduction="none")
    one_hot = [torch.from_numpy(np.stack([x == n for n in range(4)]))[None] for x in (prediction, truth)]
    found = metric(*one_hot)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(dice_per_class(table, np.arange(4)), found[0].numpy(), rtol=1e-6)


def test_dice_equals_simpleitk() -> None:
    for first, second in BALLS:
        filter_ = sitk.LabelOverlapMeasuresImageFilter()
        filter_.Execute(*[sitk.GetImageFromArray(m.astype(np.uint8)) for m in (first, second)])
        table = confusion(first.astype(int), second.astype(int), np.ones(first.shape, dtype=bool), 2, 2)
        assert dice_per_class(table, np.arange(2))[1] == pytest.approx(filter_.GetDiceCoefficient(1))


@pytest.mark.parametrize("masks", BALLS)
def test_surfaces_equal_monai(masks: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]) -> None:
    distances = SurfaceDistances.between(*masks, SPACING_MM)
    first, second = (torch.from_numpy(m)[None, None].float() for m in masks)
    for percentile in (50, 95, 100):
        theirs = compute_hausdorff_distance(
            first, second, include_background=True, percentile=percentile, spacing=SPACING_MM
        )
        assert distances.hausdorff_mm(percentile) == pytest.approx(float(theirs), abs=1e-5)
    for tolerance in (0.5, 1.5, 4.0):
        theirs = compute_surface_dice(first, second, [tolerance], include_background=True, spacing=SPACING_MM)
        assert distances.surface_dice(tolerance) == pytest.approx(float(theirs), abs=1e-6)


def test_hausdorff_equals_simpleitk() -> None:
    first, second = np.zeros((2, 20, 18, 16), dtype=bool)
    first[1:4, 2:9, 3:6], second[10:18, 5:7, 9:15] = True, True
    images = [sitk.GetImageFromArray(m.astype(np.uint8).transpose(2, 1, 0)) for m in (first, second)]
    for image in images:
        image.SetSpacing(SPACING_MM)
    theirs = sitk.HausdorffDistanceImageFilter()
    theirs.Execute(*images)
    assert SurfaceDistances.between(first, second, SPACING_MM).hausdorff_mm(100) == pytest.approx(
        theirs.GetHausdorffDistance(), abs=1e-4
    )


def test_surfaces_by_hand() -> None:
    first, second, nothing = np.zeros((3, 9, 9, 9), dtype=bool)
    first[2, 2, 2], second[4, 2, 2] = True, True
    distances = SurfaceDistances.between(first, second, (3.0, 1.0, 1.0))
    assert distances.hausdorff_mm() == 6.0
    assert (distances.surface_dice(5.9), distances.surface_dice(6.0)) == (0.0, 1.0)
    one_empty = SurfaceDistances.between(nothing, second, SPACING_MM)
    assert (one_empty.surface_dice(100.0), one_empty.hausdorff_mm()) == (0.0, math.inf)
    both_empty = SurfaceDistances.between(nothing, nothing, SPACING_MM)
    assert math.isnan(both_empty.surface_dice(1.0))
    assert math.isnan(both_empty.hausdorff_mm())
    with pytest.raises(ValueError, match="one grid"):
        SurfaceDistances.between(first, second[1:], SPACING_MM)


LABELLINGS = arrays(np.int64, 40, elements=st.integers(0, 5))


@settings(max_examples=100)
@given(LABELLINGS, LABELLINGS)
def test_information_and_rand_equal_scikit_learn(first: Ints, second: Ints) -> None:
    table = confusion(first, second, np.ones(40, dtype=bool), 6, 6)
    assert normalized_mutual_information(table) == pytest.approx(normalized_mutual_info_score(second, first), abs=1e-9)
    assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(second, first), abs=1e-9)


@settings(max_examples=60)
@given(LABELLINGS, st.permutations(range(6)))
def test_renamed_truth_is_perfect(truth: Ints, names: list[int]) -> None:
    table = confusion(np.asarray(names)[truth], truth, np.ones(40, dtype=bool), 6, 6)
    for how in ("one", "many"):
        dice = dice_per_class(table, match_labels(table, how))
        np.testing.assert_allclose(dice[~np.isnan(dice)], 1.0)
    assert normalized_mutual_information(table) == pytest.approx(1.0)
    assert adjusted_rand_index(table) == pytest.approx(1.0)


def test_large_tables_do_not_overflow() -> None:
    table = np.diag(np.full(3, 4_000_000_000))
    assert adjusted_rand_index(table) == pytest.approx(1.0)
    assert normalized_mutual_information(table) == pytest.approx(1.0)


def test_mapping_by_hand() -> None:
    table = np.array([[5, 0], [40, 2], [30, 1], [0, 9], [0, 0]])
    np.testing.assert_array_equal(match_labels(table, "many"), [0, 0, 0, 1, -1])
    np.testing.assert_array_equal(match_labels(table, "one"), [-1, 0, -1, 1, -1])
    np.testing.assert_allclose(
        dice_per_class(table, match_labels(table, "one")), [2 * 40 / (42 + 75), 2 * 9 / (9 + 12)]
    )
    np.testing.assert_allclose(
        dice_per_class(table, match_labels(table, "many")), [2 * 75 / (78 + 75), 2 * 9 / (9 + 12)]
    )


def test_one_mapping_serves_the_cohort() -> None:
    truth = blocks(0, 3)
    swapped = np.array([0, 2, 1])[truth]
    pairs = [pair("a", truth, truth), pair("b", truth, truth), pair("c", swapped, truth)]
    shared, own = (evaluate(pairs, per_scan=p, tolerance_mm=None) for p in (False, True))
    assert [scan.dice for scan in shared.scans] == [1.0, 1.0, 0.0]
    assert [scan.dice for scan in own.scans] == [1.0, 1.0, 1.0]
    assert shared.worst_dice == 0.0
    assert shared.dice == pytest.approx(2 / 3)


def test_surfaces_of_a_cohort_are_of_mapped_labels() -> None:
    first, second = BALLS[0]
    truth = np.where(second, 4, 1).astype(np.uint8)
    prediction = np.where(first, 2, 7).astype(np.uint8)
    prediction[5, 5] = 3  # a third label that has no class
    found = evaluate([pair("a", prediction, truth)], tolerance_mm=1.5)
    assert found.label_to_class[2] == 4
    expected = SurfaceDistances.between(prediction == 2, truth == 4, SPACING_MM)
    metrics = found.scans[0].classes[4]
    assert metrics.surface_dice == expected.surface_dice(1.5)
    assert metrics.hausdorff95_mm == expected.hausdorff_mm(95)


def test_missed_class() -> None:
    truth = blocks(0, 3)
    found = evaluate([pair("a", np.where(truth == 1, 5, 0), truth), pair("b", np.full(SHAPE, 5), truth)])
    missed = found.scans[1].classes[2]
    assert (missed.dice, missed.surface_dice, missed.hausdorff95_mm) == (0.0, 0.0, math.inf)


def test_refused_cohorts() -> None:
    truth = blocks(0, 3)
    with pytest.raises(ConfigError, match="nothing to score"):
        evaluate([])
    with pytest.raises(ConfigError, match=r"classes \[1, 8\] are to be scored, the truths have only \[1, 2\]"):
        evaluate([pair("a", truth, truth)], classes=(1, 8))
    with pytest.raises(InputError, match="a: the truth has no voxel inside"):
        evaluate([pair("a", truth, np.zeros_like(truth))])
    with pytest.raises(ValueError, match="give a list"):
        evaluate(iter([pair("a", truth, truth)]))
    with pytest.raises(ValueError, match="'one' or 'many', found 'all'"):
        match_labels(np.eye(2, dtype=np.int64), "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found label 2 and class 2, the table is 2 x 3"):
        confusion(truth, truth, truth >= 0, 2, 3)
    with pytest.raises(ValueError, match="shapes must agree"):
        confusion(truth, truth[1:], truth > 0, 3, 3)
