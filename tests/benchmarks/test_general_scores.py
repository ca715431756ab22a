"""Scores of `benchmarks.general`: by hand on a few voxels, and equal to `structures.py` on the same files."""

from __future__ import annotations

import csv
import json
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.general_baselines import run_tool
from benchmarks.general_scores import (
    agreement,
    average_precision,
    best_single,
    class_dice,
    consistency,
    mostly_it,
    organ_dice,
    within_body,
)
from medseg.io.label_volumes import write_labels
from medseg.spatial.geometry import Geometry
from tests.support.scans import shared

QUICK = ("training.max_steps=2", "clustering.method=cohort", "clustering.bias_sigma_mm=null")
GRID = Geometry((9, 8, 7), np.diag([1.5, 1.5, 2.0, 1.0]))


def line(*values):
    return np.array(values, dtype=np.int32).reshape(-1, 1, 1)


def test_best_single_label_is_one_for_the_whole_cohort():
    truths = [line(1, 1, 1, 1, 0, 0), line(1, 1, 0, 0, 0, 0)]
    labels = [line(2, 2, 2, 2, 3, 0), line(3, 3, 2, 0, 0, 0)]
    dice, label = best_single(labels, truths, (1,), everywhere=True)
    # label 2: 1 and 0; label 3: 0 and 1; both lose to nothing, the first one wins
    assert (dice, label) == (0.5, 2)
    inside, _ = best_single([line(1, 1, 1, 1, 1, 1)], truths[:1], (1,), everywhere=False)
    outside, _ = best_single([line(1, 1, 1, 1, 1, 1)], truths[:1], (1,), everywhere=True)
    assert inside == 1.0
    assert outside == pytest.approx(0.8)


def test_voxels_without_a_label_are_no_label():
    assert best_single([line(0, 0, 0, 1)], [line(1, 1, 1, 0)], (1,), everywhere=True)[0] == 0.0


def test_scans_without_the_structure_do_not_count():
    truths, labels = [line(1, 1, 0), line(0, 0, 0)], [line(5, 5, 0), line(5, 5, 5)]
    assert best_single(labels, truths, (1,), everywhere=True) == (1.0, 5)


def test_mostly_it_joins_the_labels_that_are_more_than_half_the_structure():
    truth, labels = line(1, 1, 1, 1, 2, 2, 2, 2), line(1, 1, 2, 3, 2, 3, 4, 4)
    # labels 2 and 3 are exactly half the structure, which is not more than half
    dice, chosen = mostly_it([labels], [truth], (1,), everywhere=False)
    assert chosen == (1,)
    assert dice == pytest.approx(2 * 2 / (2 + 4))


def test_many_to_one_and_one_to_one_classes():
    truth, labels = line(1, 1, 1, 1, 2, 2), line(1, 1, 2, 2, 3, 3)
    assert class_dice([labels], [truth], "many") == {1: 1.0, 2: 1.0}
    assert class_dice([labels], [truth], "one") == {1: pytest.approx(2 / 3), 2: 1.0}


def test_organs_many_to_one_and_one_to_one():
    truth, labels = line(1, 1, 1, 1, 2, 2, 3, 3), line(1, 1, 2, 2, 3, 3, 3, 0)
    many, one = organ_dice(labels, truth, (1, 2))
    assert many.tolist() == [1.0, pytest.approx(0.8)]
    assert one.tolist() == [pytest.approx(2 / 3), pytest.approx(0.8)]


def test_one_label_serves_one_organ():
    truth, labels = line(1, 1, 1, 2, 2), line(1, 1, 1, 1, 1)
    _, one = organ_dice(labels, truth, (1, 2))
    assert one.tolist() == [pytest.approx(0.75), 0.0]


def test_organs_one_to_one_is_the_best_of_all_assignments():
    rng = np.random.default_rng(3)
    labels, truth = (rng.integers(0, n, (4, 4, 4), dtype=np.int32) for n in (7, 5))
    inside, organs = truth > 0, (1, 3, 4)

    def dice(label, organ):
        one, two = (labels == label) & inside, truth == organ
        return 2 * (one & two).sum() / (one.sum() + two.sum())

    best = max(sum(map(dice, chosen, organs)) for chosen in permutations(range(1, 7), len(organs)))
    assert organ_dice(labels, truth, organs)[1].sum() == pytest.approx(best)


def test_consistency_of_a_structure_between_scans():
    truths = [line(1, 1, 1, 1, 2, 2), line(1, 1, 1, 1, 2, 2)]
    labels = [line(1, 1, 1, 2, 3, 3), line(1, 1, 2, 0, 4, 4)]
    found = consistency(labels, truths)
    assert found[1].overlap == pytest.approx(0.75)
    assert found[1].labels == (1, 1)
    assert found[1].unlabelled == (0.0, 0.25)
    assert found[2].overlap == 0.0


def test_lung_beyond_the_outline_of_the_body_is_foam():
    truth = np.zeros((20, 20, 2), dtype=np.uint8)
    truth[4:16, 4:16, 0] = 3
    truth[6:14, 6:14, 0] = 1
    truth[4, 9:12, 0] = 1  # lung at the edge of a crop: the outline closes it
    truth[18, 2:18, 0] = 1  # a couch
    truth[2:5, 2:5, 1] = 1  # nothing else in this slice: nothing is known
    found = within_body(truth)
    assert (found[18] == 0).all()
    found[18] = truth[18]
    assert np.array_equal(found, truth)


def test_agreement_tells_kept_numbers_from_equal_parts():
    one, swapped = line(1, 1, 2, 2, 0), line(2, 2, 1, 1, 0)
    assert agreement(one, one) == (1.0, True)
    assert agreement(one, swapped) == (1.0, False)


@pytest.fixture(scope="module")
def tool() -> Path:
    return shared("tools/structures.py")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Label maps and truths of three scans in files, with a table of them."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(1)
    labels, truths = [], []
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("prediction", "truth"))
        for n in range(3):
            truth = rng.integers(0, 4, GRID.shape)
            found = np.where(rng.random(GRID.shape) < 0.4, truth + 1, rng.integers(0, 6, GRID.shape))
            paths = [folder / f"{name}{n}.nii.gz" for name in ("prediction", "truth")]
            for values, path in zip((found, truth), paths, strict=True):
                write_labels(values, GRID, path)
            writer.writerow(paths)
            labels.append(found)
            truths.append(truth)
    return folder / "pairs.csv", labels, truths


@pytest.mark.parametrize("everywhere", [False, True])
def test_structures_are_scored_as_by_the_tool(tool, files, everywhere):
    table, labels, truths = files
    flags = ["--everywhere"] if everywhere else []
    told = json.loads(run_tool(tool, "score", table, "--structures", "1", "two=2", "whole=1+2+3", *flags))
    for name, values in (("1", (1,)), ("two", (2,)), ("whole", (1, 2, 3))):
        theirs = told["structures"][name]
        best = best_single(labels, truths, values, everywhere=everywhere)
        many = mostly_it(labels, truths, values, everywhere=everywhere)
        assert (round(best[0], 4), best[1]) == (theirs["best"], theirs["best_label"])
        assert (round(many[0], 4), list(many[1])) == (theirs["many"], theirs["many_labels"])


def test_consistency_is_that_of_the_tool(tool, files):
    table, labels, truths = files
    told, ours = json.loads(run_tool(tool, "consistency", table)), consistency(labels, truths)
    assert sorted(map(int, told)) == sorted(ours)
    for value, found in ours.items():
        theirs = told[str(value)]
        assert round(found.overlap, 4) == theirs["overlap"]
        assert list(found.labels) == theirs["labels"]
        assert [round(share, 4) for share in found.unlabelled] == theirs["unlabelled"]


def test_precision_is_that_of_the_tool(tool, tmp_path):
    rng = np.random.default_rng(0)
    scores, truth, inside = (rng.random(GRID.shape), rng.random(GRID.shape) < 0.1, rng.random(GRID.shape) < 0.7)
    paths = [tmp_path / f"{n}.nii.gz" for n in range(3)]
    for values, path in zip((scores.astype(np.float32), truth, inside), paths, strict=True):
        nib.save(nib.Nifti1Image(values.astype(np.float32), GRID.affine), path)
    (tmp_path / "scores.csv").write_text("score,truth,mask\n" + ",".join(map(str, paths)) + "\n")
    told = json.loads(run_tool(tool, "precision", tmp_path / "scores.csv"))
    assert round(average_precision(scores.astype(np.float32), truth, inside), 4) == told["mean"]


def test_a_failing_tool_is_told(tool, tmp_path):
    with pytest.raises(RuntimeError, match="score failed"):
        run_tool(tool, "score", tmp_path / "nothing.csv")
