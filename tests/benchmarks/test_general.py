"""The suite of `benchmarks.general`: rows, tables, fits that are shared, what is absent."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from monai.data.meta_tensor import MetaTensor

from benchmarks import general, general_table, general_trunk
from benchmarks.general_ablation import ABLATION
from benchmarks.general_anomaly import intensity, smoothed
from benchmarks.general_baselines import METHODS, Baselines
from benchmarks.general_cohorts import Cohort
from benchmarks.general_fits import Fits, Setting
from benchmarks.general_parts import PARTS
from benchmarks.general_rows import Goal, Row, Summary, summaries
from benchmarks.general_run import Run, single
from benchmarks.general_scores import (
    Found,
)
from benchmarks.sets import Case
from medseg.config_files import load_config
from medseg.io.label_volumes import read_labels, write_labels
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid
from tests.support.paths import SHARED
from tests.support.scans import shared, write_nifti

QUICK = ("training.max_steps=2", "clustering.method=cohort", "clustering.bias_sigma_mm=null")
GRID = Geometry((9, 8, 7), np.diag([1.5, 1.5, 2.0, 1.0]))
SMALL = small_grid()


@pytest.fixture(scope="module")
def tool() -> Path:
    return shared("tools/structures.py")


@pytest.fixture
def data(tmp_path):
    """Two phantoms, each with a second channel, masks and truths."""
    for seed in (0, 1):
        image, truth = phantom(SMALL, noise=8.0, seed=seed)
        other = MetaTensor(400 - image.as_tensor(), affine=image.affine)
        for name, voxels in (("A", image), ("B", other)):
            write_nifti(voxels, tmp_path / f"data/images/p{seed}_{name}.nii.gz")
        write_labels(truth, SMALL, tmp_path / f"data/truth/p{seed}.nii.gz")
        write_labels((truth > 0).astype(np.uint8), SMALL, tmp_path / f"data/masks/p{seed}.nii.gz")
    return tmp_path / "data"


def cohort_of(data: Path, channels=("A", "B")) -> Cohort:
    cases = [
        Case(f"p{n}", data / f"images/p{n}_A.nii.gz", data / f"truth/p{n}.nii.gz", data / f"masks/p{n}.nii.gz")
        for n in (0, 1)
    ]
    return Cohort("pairs", "smoke", ((cases, cases),), channels)


def run_of(data: Path, setting: Setting, tool: Path) -> Run:
    out = data.parent / "out"
    return Run(data, out, setting, Fits(out), Baselines(tool, out))


def test_a_row_has_both_sides_labels_and_pictures(data, tool):
    run = run_of(data, Setting(changes=QUICK), tool)
    rows = list(run.rows(cohort_of(data), 3, single("white", (3,)), {"white": Goal(0.2)}))
    assert [row.what for row in rows] == ["white"]
    assert set(rows[0].baseline) == set(METHODS)
    assert 0 < rows[0].ours <= 1
    assert rows[0].seconds_fit > 0
    assert all(path.is_file() for path in rows[0].labels)
    names = sorted(path.name for path in (run.out / "pictures").glob("*.png"))
    assert names == sorted(f"pairs_K3_p{n}_{m}.png" for n in (0, 1) for m in ("medseg_seed0", *METHODS))
    beside = sorted(path.name for path in (run.out / "pictures" / "beside").iterdir())
    assert beside == [f"pairs_K3_p{n}_medseg_seed0.png" for n in (0, 1)]


def test_labels_are_made_once_and_cuts_share_one_fit(data):
    run = run_of(data, Setting(changes=QUICK, cuts=True), Path("absent.py"))
    cohort, fits = cohort_of(data, ()), run.fits
    two, four = (fits.labelled(cohort, k, run.setting) for k in (2, 4))
    assert fits.labelled(cohort, 2, run.setting) is two
    assert fits.fitted(cohort, None, run.setting) is fits.fitted(cohort, None, run.setting)
    assert {int(read_labels(path)[0].max()) for path in two.files} == {2}
    assert {int(read_labels(path)[0].max()) for path in four.files} == {4}


def test_without_the_tool_the_columns_are_empty_and_the_reason_is_told(tmp_path):
    absent = Baselines(tmp_path / "structures.py", tmp_path)
    assert "structures.py is not there" in absent.missing
    assert absent.labelled(cohort_of(tmp_path), 3) == {}
    summary = Summary((Row("set", "what", 3, 0.5, {}, Goal(0.4), 1, 1),))
    values = dict(zip(general_table.COLUMNS, general_table.cells(summary), strict=True))
    assert [values[name] for name in ("k-means", "gmm", "to beat", "verdict")] == ["-", "-", "-", "ok"]


def test_folds_have_a_score_each_and_rows_their_mean(data):
    cohort = cohort_of(data)
    one, two = cohort.scored
    folds = Cohort("pairs", "smoke", (([two], [one]), ([one], [two])))
    seen = []

    def score(cases, labels):
        seen.append([case.name for case in cases])
        return {"size": Found(float(len(labels)) + len(seen), cases[0].name)}

    found = folds.scores([case.truth for case in folds.scored], score)
    assert seen == [["p0"], ["p1"]]
    assert found["size"] == Found(2.5, "p0; p1")


def rows_of(tmp_path, *values, **baseline):
    """Rows of one score with a seed for each value; each seed's labels differ in one voxel."""
    rows = []
    for seed, value in enumerate(values):
        labels = np.arange(1, 1 + GRID.shape[0] * GRID.shape[1] * GRID.shape[2]).reshape(GRID.shape) % 3 + 1
        labels[0, 0, 0] = 1 + seed % 3
        path = tmp_path / f"{seed}.nii.gz"
        write_labels(labels, GRID, path)
        rows.append(Row("set", "what", 3, value, baseline, Goal(0.9), 1, 1, seed=seed, labels=(path,)))
    return rows


def test_several_seeds_give_mean_worst_and_agreement(tmp_path):
    (summary,) = summaries(rows_of(tmp_path, 0.8, 0.9, 0.85, kmeans=0.7, gmm=0.86))
    assert summary.mean == pytest.approx(0.85)
    assert summary.worst == 0.8
    assert summary.to_beat == ("gmm", 0.86)
    assert summary.verdict == "missed by 0.0500, BELOW BASELINE"
    assert summary.stability is not None
    assert 0.9 < summary.stability.least_ari < 1
    assert summary.stability[1:] == (3, 3)


def test_rows_that_differ_in_more_than_the_seed_stay_apart():
    rows = [Row("set", what, k, 0.5, {}, Goal(0.4), 1, 1, variant) for what, k, variant in
            (("a", 3, "medseg"), ("b", 3, "medseg"), ("a", 4, "medseg"), ("a", 3, "without"))]  # fmt: skip
    assert len(summaries(rows)) == 4


def test_at_most_is_judged_by_its_goal_alone():
    goal = Goal(0.01, at_most=True)
    row = Row("set", "share", 5, 0.02, {"kmeans": 0.0}, goal, 1, 1)
    worse = Row("set", "share", 5, 0.005, {"kmeans": 0.0}, goal, 1, 1, seed=1)
    assert Summary((row,)).verdict == "missed by 0.0100"
    assert Summary((worse,)).verdict == "ok"
    assert Summary((worse, row)).worst == 0.02


def test_the_table_is_written_twice(tmp_path):
    found = summaries(rows_of(tmp_path, 0.95, kmeans=0.7, gmm=0.96))
    general_table.write(found, ["A note."], tmp_path)
    text = (tmp_path / "general.md").read_text()
    assert text.startswith("A note.\n")
    assert "1 of 1 rows reach their goal, 1 are below their baseline." in text
    (row,) = csv.DictReader((tmp_path / "general.csv").open())
    assert (row["mean"], row["to beat"], row["verdict"]) == ("0.9500", "0.9600 (gmm)", "ok, BELOW BASELINE")


def test_absent_data_is_left_out_with_a_reason(tmp_path, capsys):
    assert general.run(general.Options(tmp_path / "data", tmp_path / "out", parts=("gliomas",))) == []
    told = capsys.readouterr().out
    assert "gliomas: left out, brain_glioma not in" in told
    assert "no baselines" in told


def test_the_command_line(tmp_path):
    words = ["ct_trunk", "gliomas", "--seeds", "0", "1", "--set", "a.b=1", "--cuts", "--labels", "6", "--ablation"]
    options = general.parse([*words, "--out", str(tmp_path)])
    assert options.parts == ("ct_trunk", "gliomas")
    settings = list(options.settings())
    assert [(s.variant, s.seed) for s in settings] == [("medseg", 0), ("medseg", 1), *((name, 0) for name in ABLATION)]
    assert all(s.cuts and s.changes[0] == "a.b=1" for s in settings)
    with pytest.raises(SystemExit):
        general.parse(["liver"])


@pytest.mark.parametrize("variant", ABLATION)
@pytest.mark.parametrize("config", ["body_ct", "generic", "lung_mr"])
def test_the_settings_of_each_ablation_exist(variant, config):
    load_config(config, ABLATION[variant])


def test_smoothing_leaves_out_what_lies_outside_the_mask():
    voxels, inside = np.full((9, 9, 9), 5.0, np.float32), np.zeros((9, 9, 9), bool)
    inside[:, :, :5] = True
    voxels[~inside] = 1000.0
    assert smoothed(voxels, inside, [1.0] * 3)[inside] == pytest.approx(5.0, abs=1e-3)


def test_intensity_takes_the_best_channel_and_width(data):
    cohort = cohort_of(data)
    for case in cohort.scored:  # the tumour is the brightest tissue of channel A
        write_labels((case.read_truth() == 3).astype(np.uint8), SMALL, case.truth)
    ((name, value),) = intensity(cohort).items()
    assert name.startswith("A, ")
    assert value > 0.8


def test_every_part_has_its_data():
    if not (SHARED / "data").is_dir():
        pytest.skip("real scans not here")
    for _, folders in PARTS.values():
        assert all((SHARED / "data" / folder).is_dir() for folder in folders)


def test_the_trunk_truth_has_fourteen_classes():
    folder = shared("data/ct_trunk")
    case = Case("ct", folder / "example_ct.nii.gz", folder / "example_seg_fast_force_split.nii.gz")
    truth = general_trunk.organ_truth(case)
    assert set(np.unique(truth)) == set(range(15))
    ids = case.read_truth()
    assert np.array_equal(truth == 1, ids == 5)
    assert np.array_equal(truth == 7, (ids >= 51) & (ids <= 68))


def test_images_are_read_with_their_channels(data):
    cohort = cohort_of(data)
    scan = cohort.scan(cohort.scored[0], load_config("smoke", cohort.changes))
    assert [path.name for path in scan.all_paths] == ["p0_A.nii.gz", "p0_B.nii.gz"]
