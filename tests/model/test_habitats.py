"""Habitats: small regions over a cohort, cases that lack one, tables for statistics, and which would be found again."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from medseg import Model, load_config
from medseg.cli.main import main
from medseg.io.label_volumes import read_labels
from medseg.model.habitats import Stability, habitat_stability
from medseg.model.stability import STABLE, matched_jaccard
from sample_data.habitats import SPACING_MM, case
from tests.support.scans import write_nifti

QUICK = (
    "training.max_steps=8", "training.patch_size=24", "autoencoder.channels=4", "clustering.n_clusters=3",
    "habitats.n_seeds=1", "habitats.n_bootstraps=3",
)  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("habitats")
    for number, parts in enumerate([(50, 130, 210), (50, 130, 210), (50, 130), (50, 130, 210)]):
        scan, ball = case(parts, number)
        write_nifti(scan, folder / "scans" / f"case{number}.nii.gz")
        write_nifti(ball, folder / "regions" / f"case{number}.nii.gz")
    changes = [word for change in QUICK for word in ("--set", change)]
    words = ["run", folder / "scans", "--masks", folder / "regions", "--out", folder / "out", "--config", "habitats"]
    assert main([*map(str, words), *changes, "--workers", "0"]) == 0
    return folder / "out"


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_case_has_its_row_and_fractions_sum_to_one(out):
    rows = rows_of(out / "habitats.csv")
    assert [row["scan"] for row in rows] == [f"case{n}" for n in range(4)]
    for row in rows:
        labels, _ = read_labels(out / f"{row['scan']}_seg.nii.gz")
        assert int(row["n_voxels"]) == (labels > 0).sum() < 600
        names = [name[: -len("_fraction")] for name in row if name.endswith("_fraction")]
        assert len(names) == 3
        assert sum(float(row[f"{name}_fraction"]) for name in names) == pytest.approx(1, abs=1e-4)
        total = sum(float(row[f"{name}_mm3"]) for name in names)
        assert total == pytest.approx(float(row["volume_mm3"])) == pytest.approx((labels > 0).sum() * SPACING_MM**3)


def test_habitats_mean_the_same_in_every_case_and_one_may_lack(out):
    """The third case has no bright part: because the range is that of the scan, it is not stretched to have one."""
    rows = rows_of(out / "habitats.csv")
    dark, middle, bright = (name[: -len("_mean")] for name in rows[0] if name.endswith("_mean"))
    for number, row in enumerate(rows):
        assert float(row[f"{dark}_mean"]) == pytest.approx(50, abs=15)
        assert float(row[f"{middle}_mean"]) == pytest.approx(130, abs=25)
        if number == 2:
            assert float(row[f"{bright}_fraction"]) < 0.02
        else:
            assert float(row[f"{bright}_mean"]) == pytest.approx(210, abs=15)
            assert 0 < float(row[f"{dark}_mean_common"]) < float(row[f"{bright}_mean_common"]) < 1


def test_stability_is_told_for_every_habitat(out):
    rows = rows_of(out / "habitats_stability.csv")
    assert [row["habitat"] for row in rows] == ["1", "2", "3"]
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-3)
    assert rows[2]["n_cases"] in {"3", "4"}
    for row in rows:
        assert row["verdict"] == "stable"
        assert float(row["jaccard_over_seeds"]) > STABLE
        assert float(row["jaccard_over_cases"]) > STABLE
    names = [label.name for label in Model.load(out / "model", device="cpu").table]
    assert names == ["habitat 1", "habitat 2", "habitat 3"]


def test_what_is_no_structure_is_unstable_and_named_so(tmp_path):
    """Three even cases of three levels, five clusters: which levels are divided depends on who was drawn."""
    for number, level in enumerate((60, 130, 210)):
        scan, ball = case((level,), number)
        write_nifti(scan, tmp_path / "scans" / f"case{number}.nii.gz")
        write_nifti(ball, tmp_path / "regions" / f"case{number}.nii.gz")
    changes = [word for change in (*QUICK, "clustering.n_clusters=5") for word in ("--set", change)]
    words = [
        "run",
        tmp_path / "scans",
        "--masks",
        tmp_path / "regions",
        "--out",
        tmp_path / "o",
        "--config",
        "habitats",
    ]
    assert main([*map(str, words), *changes, "--workers", "0", "--write", "nifti"]) == 0
    verdicts = {row["habitat"]: row["verdict"] for row in rows_of(tmp_path / "o" / "habitats_stability.csv")}
    unstable = [number for number, verdict in verdicts.items() if verdict == "unstable"]
    assert unstable
    header = rows_of(tmp_path / "o" / "habitats.csv")[0]
    assert all(f"h{n}_unstable_fraction" in header and f"h{n}_fraction" not in header for n in unstable)
    assert f"habitat {unstable[0]} (unstable)" in (tmp_path / "o" / "report.html").read_text()


def test_a_match_is_one_to_one_and_blind_to_numbers():
    first = [np.array([1, 1, 2, 2], np.uint8), np.array([3, 3], np.uint8)]
    swapped = [np.array([2, 2, 3, 3], np.uint8), np.array([1, 1], np.uint8)]
    assert matched_jaccard(first, swapped, 3).tolist() == [1, 1, 1]
    half = [np.array([1, 2, 2, 2], np.uint8), np.array([3, 3], np.uint8)]
    assert matched_jaccard(first, half, 3) == pytest.approx([1 / 2, 2 / 3, 1])
    assert matched_jaccard([np.array([1, 1], np.uint8)], [np.array([1, 1], np.uint8)], 2).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("seeds", "cases", "verdict"),
    [(0.9, 0.8, "stable"), (0.9, 0.74, "unstable"), (0.7, None, "unstable"), (0.9, None, "unknown"),
     (None, None, "unknown")],
)  # fmt: skip
def test_the_verdict(seeds, cases, verdict):
    assert Stability(1, 0.5, 3, seeds, cases).verdict == verdict
    assert Stability(1, 0.0, 0, seeds, cases).verdict == "empty"


def test_one_case_leaves_the_bootstrap_unknown():
    scan, ball = case((50, 130, 210), 0)
    config = load_config("habitats", [*QUICK, "habitats.n_seeds=0"])
    model = Model.fit([scan], config, device="cpu")
    prepared = [model.prepare(scan, ball)]
    assert {one.verdict for one in habitat_stability(model, prepared)} == {"unknown"}


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "found no regions, expected --masks"), (("--masks", ".", "--write", "seg.nrrd"), "add nifti")],
)
def test_what_habitats_need_is_asked_for_before_any_work(tmp_path, capsys, words, message):
    scan, _ = case((50,), 0)
    write_nifti(scan, tmp_path / "scans" / "a.nii.gz")
    arguments = ["run", str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--config", "habitats", *words]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
