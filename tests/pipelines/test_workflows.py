"""Every workflow of ``pipelines/`` runs on sample data, as its docstring says."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.io.pacs.base import Query
from pipelines.brain_volumes import brain_volumes
from pipelines.pacs_round_trip import pacs_round_trip
from pipelines.segment_directory import segment_directory
from pipelines.tumour_habitats import tumour_habitats
from sample_data.habitats import case
from tests.support.cohorts import thick_series
from tests.support.fake_pacs import FakePacs
from tests.support.paths import ROOT
from tests.support.scans import write_nifti

QUICK = ("training.max_steps=4", "autoencoder.channels=4", "training.patch_size=16")
SCRIPTS = sorted((ROOT / "pipelines").glob("*.py"))


def test_a_directory_is_segmented(phantom_scans, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.nii.gz").symlink_to(phantom_scans / "scans" / "RAS.nii.gz")
    (tmp_path / "in" / "broken.nii").write_text("no image")
    assert segment_directory(tmp_path / "in", tmp_path / "out", "smoke") == [tmp_path / "out" / "good.seg.nrrd"]
    assert capsys.readouterr().out.startswith("broken: ")
    labels, _ = medseg.read_labels(tmp_path / "out" / "good_seg.nii.gz")
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert medseg.Model.load(tmp_path / "out" / "model", device="cpu").table


def test_brain_volumes_add_up(phantom_scans, tmp_path):
    rows = brain_volumes(phantom_scans / "scans", tmp_path / "volumes.csv", QUICK)
    assert [row["scan"] for row in rows] == ["LPS", "RAS"]
    with (tmp_path / "volumes.csv").open() as file:
        assert [float(row["white_matter_ml"]) for row in csv.DictReader(file)] == [r["white_matter_ml"] for r in rows]
    for row in rows:
        assert sum(
            float(str(row[f"{name}_share"])) for name in ("csf", "grey_matter", "white_matter")
        ) == pytest.approx(1, abs=1e-3)


def test_habitats_are_judged(tmp_path):
    for number in range(2):
        image, region = case((60.0, 140.0), seed=number)
        write_nifti(image, tmp_path / "scans" / f"case{number}.nii.gz")
        write_nifti(region, tmp_path / "regions" / f"case{number}.nii.gz")
    changes = [*QUICK, "clustering.n_clusters=2", "habitats.n_seeds=1", "habitats.n_bootstraps=2"]
    found = tumour_habitats(tmp_path / "scans", tmp_path / "regions", changes)
    assert [one.number for one in found] == [1, 2]
    assert sum(one.share for one in found) == pytest.approx(1)
    assert {one.n_cases for one in found} == {2}


def test_a_series_comes_back_to_its_pacs_segmented(model, tmp_path):
    series = thick_series(tmp_path / "series")
    (tmp_path / "fetched").mkdir()
    server = FakePacs(series)
    assert pacs_round_trip(server, Query(modality="MR"), model) == 1
    assert len(server.stored) == 1
    assert server.stored[0].Modality == "SEG"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_workflow_is_short_and_says_how_it_is_run(script: Path):
    text = script.read_text()
    assert 20 <= len(text.splitlines()) <= 60
    assert f"python pipelines/{script.name}" in text
    done = subprocess.run([sys.executable, "-m", "py_compile", str(script)], check=False)
    assert done.returncode == 0
