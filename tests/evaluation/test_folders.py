"""Scores of folders of label maps: pairs by name, masks, CSV, refusals."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.cli.main import main
from medseg.errors import ConfigError
from medseg.evaluation.evaluate import Pair, evaluate, evaluate_folders, write_metrics
from medseg.evaluation.pairs import find_pairs
from medseg.io.label_volumes import write_labels
from medseg.spatial.geometry import Geometry
from tests.support.labelled_pairs import SHAPE, SPACING_MM, Ints, blocks, cohort


def save(path: Path, labels: Ints, spacing_mm: tuple[float, ...] = SPACING_MM) -> None:
    write_labels(labels, Geometry(labels.shape, np.diag([*spacing_mm, 1.0])), path)


@pytest.mark.parametrize(
    ("prediction", "truth", "name"),
    [
        ("a/b_seg.nii.gz", "a/b.nii.gz", "a/b"),
        ("a/b_seg.nii.gz", "a/b_seg.nii", "a/b"),
        ("a/b_seg.nii", "a/b_truth.nii.gz", "a/b"),
        ("IBSR_01_T1w_seg.nii.gz", "IBSR_01_truth.nii.gz", "IBSR_01_T1w"),
        ("IBSR_01_T1w_seg.nii.gz", "IBSR_01_T1w_truth.nii.gz", "IBSR_01_T1w"),
        ("x/0004_image_seg.nii.gz", "x/0004_truth.nii.gz", "x/0004_image"),
        ("sub-1/sub-1_seg-medseg_desc-k6_dseg.nii.gz", "sub-1/sub-1_dseg.nii.gz", "sub-1/sub-1"),
        ("case.nii.gz", "case.nii.gz", "case"),
    ],
)
def test_pairs_by_name(tmp_path: Path, prediction: str, truth: str, name: str) -> None:
    for root, path in (("p", prediction), ("t", truth), ("m", f"{name}_mask.nii")):
        (tmp_path / root / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / root / path).touch()
    (found,) = find_pairs(tmp_path / "p", tmp_path / "t", tmp_path / "m").found
    assert found.name == name
    assert found.prediction == tmp_path / "p" / prediction
    assert found.truth == tmp_path / "t" / truth
    assert found.mask == tmp_path / "m" / f"{name}_mask.nii"


def test_images_and_hidden_files_are_no_label_maps(tmp_path: Path) -> None:
    for name in ("a_T1w.nii", "a_T1w_seg.nii", "a_truth.nii", ".1f.b_seg.nii", "notes.txt"):
        (tmp_path / name).touch()
    (found,) = find_pairs(tmp_path, tmp_path).found
    assert (found.prediction.name, found.truth.name) == ("a_T1w_seg.nii", "a_truth.nii")


def test_unpaired_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictions, truths = tmp_path / "p", tmp_path / "t"
    with pytest.raises(ConfigError, match="is no folder"):
        find_pairs(predictions, truths)
    predictions.mkdir()
    with pytest.raises(ConfigError, match="holds no NIfTI file"):
        find_pairs(predictions, truths)
    (predictions / "a_T1w_seg.nii").touch()
    truths.mkdir()
    (case,) = find_pairs(predictions, truths).unscored
    assert (case.name, case.code) == ("a_T1w", "no_truth")
    assert re.search(r"a_T1w_seg\.nii has no counterpart in .*/t; expected one of a_T1w_truth", case.reason)
    for name in ("a_truth.nii", "b_truth.nii", "b_T1w.nii"):
        (truths / name).touch()
    one, two = find_pairs(predictions, truths, masks=truths).unscored
    assert "expected one of a_T1w_mask, a_mask, a_T1w with" in one.reason
    pairs = find_pairs(predictions, truths)
    assert len(pairs.found) == 1
    assert [(case.name, case.code) for case in pairs.unscored] == [("b", "no_prediction")]
    assert two.reason == "found no prediction for b_truth.nii, expected one in p; segment that scan"


def test_folders_with_masks_to_csv(tmp_path: Path) -> None:
    for p in cohort(4):
        save(tmp_path / "p" / "deep" / f"{p.name}_T1w_seg.nii.gz", p.prediction)
        save(tmp_path / "t" / "deep" / f"{p.name}_truth.nii.gz", p.truth)
        save(tmp_path / "m" / "deep" / f"{p.name}_mask.nii", np.indices(SHAPE)[0] > 3)
    result = evaluate_folders(tmp_path / "p", tmp_path / "t", masks=tmp_path / "m", tolerance_mm=2.0)
    inside = [
        Pair(p.name, p.prediction, p.truth, (p.truth > 0) & (np.indices(SHAPE)[0] > 3), SPACING_MM) for p in cohort(4)
    ]  # fmt: skip
    for read, expected in zip(result.scans, evaluate(inside).scans, strict=True):
        assert read.classes[1].dice == expected.classes[1].dice
        assert read.classes[1].surface_dice == expected.classes[1].surface_dice
        # Spacing is stored in single precision.
        assert read.classes[1].hausdorff95_mm == pytest.approx(expected.classes[1].hausdorff95_mm, rel=1e-6)
    write_metrics(result, tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert [(row["scan"], row["class"]) for row in rows] == [
        (f"deep/s{n}_T1w", value) for n in range(3) for value in ("1", "2", "9")
    ]
    assert float(rows[0]["dice"]) == pytest.approx(result.scans[0].classes[1].dice, abs=1e-5)
    assert float(rows[4]["surface_dice"]) == pytest.approx(result.scans[1].classes[2].surface_dice, abs=1e-5)
    assert float(rows[4]["hausdorff95_mm"]) == pytest.approx(result.scans[1].classes[2].hausdorff95_mm, abs=1e-4)
    assert float(rows[8]["rand_index"]) == pytest.approx(result.scans[2].rand_index, abs=1e-5)
    assert (rows[8]["dice"], rows[8]["surface_dice"]) == ("", "")


def test_every_case_gets_a_row_and_what_has_no_score_is_named(tmp_path: Path) -> None:
    truth = blocks(0, 3)
    for name in ("a", "grid", "empty", "damaged", "alone"):
        save(tmp_path / "p" / f"{name}_seg.nii", truth)
    save(tmp_path / "t" / "a_truth.nii", truth)
    save(tmp_path / "t" / "grid_truth.nii", truth, (0.7, 1.2, 3.1))
    save(tmp_path / "t" / "empty_truth.nii", np.zeros_like(truth))
    (tmp_path / "t" / "damaged_truth.nii").write_bytes(b"no label map")
    save(tmp_path / "t" / "missing_truth.nii", truth)
    result = evaluate_folders(tmp_path / "p", tmp_path / "t")
    assert [scan.name for scan in result.scans] == ["a"]
    codes = {case.name: case.code for case in result.unscored}
    assert codes.pop("damaged")
    expected = {"alone": "no_truth", "empty": "empty_truth", "grid": "grids_differ", "missing": "no_prediction"}
    assert codes == expected
    assert main(["evaluate", str(tmp_path / "p"), str(tmp_path / "t"), "--out", str(tmp_path / "m.csv")]) == 1
    with (tmp_path / "m.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    reasons = {row["scan"]: row["reason"] for row in rows if row["reason"]}
    assert set(reasons) == {*expected, "damaged"}
    assert reasons["grid"].startswith("grids_differ: ")
    assert {row["dice"] for row in rows if row["reason"]} == {""}


def test_a_reference_whose_axes_run_otherwise_is_turned(tmp_path: Path) -> None:
    truth = blocks(0, 3)
    truth[0, 1, 2] = 0
    save(tmp_path / "p" / "a_seg.nii", truth)
    affine = np.diag([*SPACING_MM, 1.0])
    turn = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, -1, 0, SHAPE[2] - 1], [0, 0, 0, 1]])
    turned = np.ascontiguousarray(truth.transpose(1, 2, 0)[:, ::-1, ::-1])
    (tmp_path / "t").mkdir()
    write_labels(turned, Geometry((SHAPE[1], SHAPE[2], SHAPE[0]), affine @ turn), tmp_path / "t" / "a_truth.nii")
    result = evaluate_folders(tmp_path / "p", tmp_path / "t")
    assert result.unscored == ()
    assert [x.dice for x in result.scans[0].classes.values()] == [1.0] * len(result.scans[0].classes)


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    truth = blocks(0, 3)
    save(tmp_path / "p" / "a_seg.nii", truth)
    save(tmp_path / "t" / "a.nii", truth, (0.7, 1.2, 3.1))
    with pytest.raises(ConfigError, match=r"not one of 1 cases can be scored, such as a: .*resample one onto"):
        evaluate_folders(tmp_path / "p", tmp_path / "t")
