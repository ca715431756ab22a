"""A BIDS dataset in, a valid BIDS derivative out; folders in the naming of nnU-Net."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.batch.outputs import Job
from medseg.cli.main import main
from medseg.errors import ConfigError
from medseg.io.bids import check_dataset, derivative_stem, is_raw_dataset, is_structural, write_lookup
from medseg.io.discovery import find_scans
from medseg.io.label_volumes import read_labels
from medseg.io.scan import Scan
from medseg.labels.table import LabelTable
from medseg.model.model import Model
from medseg.model.outputs import Output
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.scans import write_nifti

FIRST, SECOND = "sub-01/anat/sub-01_T1w", "sub-02/ses-a/anat/sub-02_ses-a_acq-hi_run-1_T2w"


def write_dataset(root: Path) -> Path:
    image = phantom(small_grid(28), noise=8.0, seed=0)[0]
    for name in (f"{FIRST}.nii.gz", f"{SECOND}.nii", "sub-01/func/sub-01_task-rest_sbref.nii.gz",
                 "derivatives/other/sub-01/anat/sub-01_desc-brain_T1w.nii.gz"):  # fmt: skip
        write_nifti(image, root / name)
    (root / "sub-01/func/sub-01_task-rest_sbref.json").write_text(json.dumps({"TaskName": "rest", "RepetitionTime": 2}))
    description = {"Name": "phantoms", "BIDSVersion": "1.10.1", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Phantoms, made to test a derivative.\n" * 5)
    return root


def problems(folder: Path) -> list[dict[str, Any]]:
    """The errors that the BIDS validator finds."""
    program = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}") or shutil.which(
        "bids-validator-deno"
    )
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([program, "--json", str(folder)], capture_output=True, text=True, timeout=300, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue.get("severity") == "error"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bids") / "raw")


@pytest.fixture(scope="module")
def derivative(dataset, model_folder, tmp_path_factory):
    folder = shutil.copytree(model_folder, tmp_path_factory.mktemp("model") / "model")
    out = dataset / "derivatives" / "medseg"
    words = ["segment", str(dataset), "--model", str(folder), "--out", str(out), "--workers", "0"]
    assert main(words) == 0
    return out, folder, words


def test_numbers_have_subject_and_session_as_columns(derivative):
    out, _, _ = derivative
    for name in ("volumes.csv", "statistics.csv"):
        with (out / name).open() as file:
            rows = list(csv.DictReader(file))
        assert {(row["scan"], row["subject"], row["session"]) for row in rows} == {
            (FIRST, "sub-01", ""), (SECOND, "sub-02", "ses-a"),
        }  # fmt: skip
        assert len(rows) == 6


def test_a_dataset_becomes_a_valid_derivative(derivative, dataset):
    out, _, _ = derivative
    names = sorted(path.relative_to(out).as_posix() for path in out.glob("sub-*/**/*") if path.is_file())
    stems = ["sub-01/anat/sub-01_seg-medseg_desc-k3_dseg",
             "sub-02/ses-a/anat/sub-02_ses-a_acq-hi_run-1_seg-medseg_desc-T2wk3_dseg"]  # fmt: skip
    assert names == sorted(f"{stem}{end}" for stem in stems for end in (".nii.gz", ".seg.nrrd", ".tsv", ".json"))
    sidecar = json.loads((out / f"{stems[1]}.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:{SECOND}.nii"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert description["GeneratedBy"][0]["Name"] == "medseg"
    assert str(dataset.parent) not in (out / "dataset_description.json").read_text()
    assert problems(out) == []


def test_the_raw_dataset_was_valid(dataset):
    assert [x for x in problems(dataset) if "derivatives" not in str(x.get("location"))] == []


def test_the_validator_finds_what_is_wrong(derivative, tmp_path):
    out = shutil.copytree(derivative[0], tmp_path / "out")
    (out / "sub-01/anat/sub-01_seg-medseg_desc-k3_dseg.nii.gz").rename(out / "sub-01/anat/sub-01_seg.nii.gz")
    assert problems(out) != []


def test_done_scans_are_skipped_and_labels_follow(derivative, tmp_path, monkeypatch, dataset):
    out, folder, words = derivative
    monkeypatch.setattr(Model, "segment", None)
    assert main(words) == 0
    other, model = shutil.copytree(out, tmp_path / "out"), shutil.copytree(folder, tmp_path / "model")
    assert main(["label", str(model), "--out", str(other), "--name", "3=white matter", "--merge", "1,2"]) == 0
    stem = "sub-01/anat/sub-01_seg-medseg_desc-k3_dseg"
    with (other / f"{stem}.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(x["index"], x["name"], x["abbreviation"], x["mapping"], x["color"]) for x in rows] == [
        ("1", "label 1", "L1", "n/a", "#4477aa"), ("3", "white matter", "WM", "2", "#ee6677")]  # fmt: skip
    assert set(np.unique(read_labels(other / f"{stem}.nii.gz")[0])) == {0, 1, 3}
    assert (other / f"{stem}.json").is_file()
    assert problems(other) == []
    assert main(["report", str(other), "--single-file"]) == 0


def test_the_layout_can_be_chosen(dataset, model_folder, tmp_path, capsys):
    anat = dataset / "sub-01" / "anat"
    words = ["--model", str(model_folder), "--workers", "0"]
    assert main(["segment", str(anat), "--layout", "bids", "--out", str(tmp_path / "a"), *words]) == 2
    assert "found no dataset_description.json of a raw dataset" in capsys.readouterr().err
    assert main(["segment", str(anat), "--out", str(tmp_path / "b"), *words]) == 0
    assert (tmp_path / "b" / "sub-01_T1w_seg.nii.gz").is_file()
    assert not (tmp_path / "b" / "dataset_description.json").exists()


def test_only_raw_datasets_are_taken_for_one(tmp_path, dataset):
    assert is_raw_dataset(dataset)
    assert not is_raw_dataset(tmp_path)
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "DatasetType": "derivative"}))
    assert not is_raw_dataset(tmp_path)
    with pytest.raises(ConfigError, match="--layout plain"):
        check_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("sub-1/anat/sub-1_T1w", "sub-1/anat/sub-1_seg-medseg_desc-k6"),
        ("sub-1/anat/sub-1_FLAIR", "sub-1/anat/sub-1_seg-medseg_desc-FLAIRk6"),
        ("sub-1/ses-2/anat/sub-1_ses-2_rec-x_T1w", "sub-1/ses-2/anat/sub-1_ses-2_rec-x_seg-medseg_desc-k6"),
    ],
)
def test_names_of_a_derivative(name, wanted, tmp_path):
    assert derivative_stem(name, "k6") == wanted
    job = Job(tmp_path, bids="k6")
    assert job.path(name, Output.NIFTI) == tmp_path / f"{wanted}_dseg.nii.gz"
    assert Job.of(tmp_path, job.facts("a model")) == job
    assert Job.of(tmp_path, Job(tmp_path).facts("a model")) == Job(tmp_path)


@pytest.mark.parametrize("name", ["a", "sub-1/func/sub-1_bold", "derivatives/x/sub-1/anat/sub-1_T1w",
                                  "sub-1/anat/sub-1_mask", "sub-1/anat/sub-1_T1w-b"])  # fmt: skip
def test_what_is_no_structural_image(name):
    assert not is_structural(Scan(name, (Path("x.nii"),), "nifti"))
    if "mask" not in name:
        with pytest.raises(ValueError, match="no name of BIDS"):
            derivative_stem(name, "k6")


def test_a_lookup_table_is_one_line_a_label(tmp_path):
    write_lookup(LabelTable.default(2).replace(1, name="a\tb\nc"), tmp_path / "a.tsv")
    lines = (tmp_path / "a.tsv").read_text().splitlines()
    assert lines[1] == "1\ta b c\tL1\tn/a\t#4477aa"
    assert len(lines) == 3


def test_folders_of_nnunet(tmp_path, capsys):
    image = phantom(small_grid(24), noise=8.0, seed=0)[0]
    for name in ("one_0000", "two_0000", "two_0001", "three_0000", "three", "_0000", "series_0007"):
        write_nifti(image, tmp_path / "imagesTs" / f"{name}.nii.gz")
    ids = [scan.id.rpartition("/")[2] for scan in find_scans(tmp_path / "imagesTs")]
    assert ids == ["_0000", "one", "series_0007", "three", "three_0000", "two_0000", "two_0001"]
    assert main(["inspect", str(tmp_path / "imagesTs")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "channel 0 of 2 of two: channels are separate images here" in text
    assert "*_0001.nii.gz" in text
    assert "of one:" not in text
