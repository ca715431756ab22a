"""`medseg bids` called as NiPreps are: levels, labels, filters, limits, and a valid derivative."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.batch.resources import limit_resources, n_cpus, total_memory
from medseg.cli.main import build_parser, main
from medseg.io.bids import entities_of
from medseg.model.model import Model
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.cohorts import manifest
from tests.support.scans import write_nifti

IMAGES = ("sub-01/anat/sub-01_T1w", "sub-02/ses-a/anat/sub-02_ses-a_T1w", "sub-02/ses-b/anat/sub-02_ses-b_acq-hi_T1w",
          "sub-03/anat/sub-03_T1w", "sub-03/anat/sub-03_FLAIR")  # fmt: skip
TINY = ["--config", "smoke", "--set", "training.max_steps=4", "--set", "training.patch_size=16", "--device", "cpu",
        "--workers", "0"]  # fmt: skip


def write_dataset(root: Path) -> Path:
    for seed, name in enumerate(IMAGES):
        write_nifti(phantom(small_grid(28), noise=8.0, seed=seed)[0], root / f"{name}.nii.gz")
    description = {"Name": "phantoms", "BIDSVersion": "1.10.1", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Phantoms, made to test a BIDS App.\n" * 5)
    return root


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("app") / "raw")


@pytest.fixture(scope="module")
def derivative(dataset: Path) -> Path:
    """Model at the level group, then participants one call each as an array of jobs makes them, then group again."""
    out = dataset / "derivatives" / "medseg"
    call = ["bids", str(dataset), str(out)]
    assert main([*call, "group", *TINY]) == 0
    assert not list(out.glob("sub-*"))
    for label in ("01", "sub-02", "03"):
        assert main([*call, "participant", "--participant-label", label, "--device", "cpu", "--workers", "0"]) == 0
    assert main([*call, "group", "--device", "cpu"]) == 0
    return out


def test_each_participant_gets_labels_of_the_one_model(derivative):
    assert {row["status"] for row in manifest(derivative).values()} == {"done"}
    assert sorted(manifest(derivative)) == sorted(IMAGES[:4])  # the FLAIR is no T1w
    records = [json.loads(path.read_text()) for path in (derivative / ".medseg").glob("*.json")]
    assert len({record["job"]["model"] for record in records}) == 1
    assert {record["job"]["bids"] for record in records} == {"k3"}


def test_the_group_table_has_the_volume_of_each_label(derivative):
    with (derivative / "group_volumes.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["participant_id"], row["session_id"], row["image"]) for row in rows] == [
        ("sub-01", "n/a", "sub-01_T1w"), ("sub-02", "ses-a", "sub-02_ses-a_T1w"),
        ("sub-02", "ses-b", "sub-02_ses-b_acq-hi_T1w"), ("sub-03", "n/a", "sub-03_T1w"),
    ]  # fmt: skip
    volumes = manifest(derivative)[IMAGES[0]]
    mm3 = [float(volumes[name]) for name in volumes if name.endswith("mm3")]
    assert [float(rows[0][f"label{n}_ml"]) for n in (1, 2, 3)] == pytest.approx([v / 1000 for v in mm3], abs=1e-3)
    assert float(rows[0]["total_ml"]) == pytest.approx(sum(mm3) / 1000, abs=2e-3)
    meanings = json.loads((derivative / "group_volumes.json").read_text())
    assert meanings["label1_ml"] == {"LongName": "label 1", "Description": "Volume of label 1", "Units": "ml"}
    assert list(meanings) == list(rows[0])


def judged_by(program: str, folder: Path) -> list[dict[str, Any]]:
    """The errors that a validator finds."""
    known = shutil.which(program, path=f"{Path(sys.executable).parent}") or shutil.which(program)
    if known is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([known, str(folder), "--json"], capture_output=True, text=True, timeout=300, check=False)
    issues = json.loads(done.stdout)["issues"]
    if "errors" in issues:
        return list(issues["errors"])
    return [issue for issue in issues["issues"] if issue.get("severity") == "error"]


def test_the_derivative_is_valid(derivative):
    assert judged_by("bids-validator-deno", derivative) == []


def test_the_dataset_with_its_derivative_is_valid(derivative, dataset):
    assert judged_by("bids-validator", dataset) == []  # the one of npm knows raw datasets only


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["--participant-label", "02", "sub-03"], [1, 2, 3]),
        (["--participant_label", "02", "--session-label", "ses-b"], [2]),
        (["-m", "T1w", "FLAIR"], [0, 1, 2, 3, 4]),
        (["--modalities", "FLAIR"], [4]),
        (["--session-id", "a"], [1]),
        (["--exclude", "*acq-hi*"], [0, 1, 3]),
    ],
)
def test_what_is_taken(words, taken, derivative, dataset, tmp_path, capsys):
    call = ["bids", str(dataset), str(tmp_path / "out"), "participant", *words, "--dry-run"]
    assert main([*call, "--model", str(derivative / "model"), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"segment   {IMAGES[n]}" for n in sorted(taken, key=lambda n: IMAGES[n])]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({"t1w": {"acquisition": "hi"}}, [2]),
        ({"t1w": {"acquisition": None}}, [0, 1, 3]),
        ({"t1w": {"session": "*", "datatype": "anat"}, "bold": {"task": "rest"}}, [1, 2]),
        ({"t1w": {"session": ["a", "ses-b"], "subject": "2"}}, [1, 2]),
        ({"flair": {"acquisition": "hi"}}, [0, 1, 2, 3]),
    ],
)
def test_filter_files(filters, taken, derivative, dataset, tmp_path, capsys):
    (tmp_path / "filter.json").write_text(json.dumps(filters))
    call = ["bids", str(dataset), str(tmp_path / "out"), "participant", "--dry-run"]
    call += ["--bids-filter-file", str(tmp_path / "filter.json"), "--model", str(derivative / "model")]
    assert main([*call, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"segment   {IMAGES[n]}" for n in taken]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["{raw}", "{out}", "participant", "--participant-label", "99"],
            "found no image of sub-99, expected some of sub-01",
        ),
        (
            ["{raw}", "{out}", "participant", "--participant-label", "01", "--session-label", "a"],
            "expected some of no ses",
        ),
        (["{raw}", "{out}", "participant", "--model", "{raw}"], "found no model.json"),
        (["{raw}/sub-01", "{out}", "participant"], "found no dataset_description.json of a raw dataset"),
        (["{raw}/sub-99", "{out}", "group"], "found no folder, expected a BIDS dataset"),
        (["{raw}", "{done}", "participant", "--config", "generic"], "that was fitted with other settings"),
        (["{raw}", "{done}", "participant", "--random-seed", "5"], "that was fitted with other settings"),
        (["{raw}", "{out}", "participant", "--bids-filter-file", "{raw}/README"], "found no readable JSON file"),
        (["{raw}", "{out}", "participant", "--bids-filter-file", "{raw}/list.json"], "found other JSON"),
        (["{raw}", "{out}", "participant", "--bids-filter-file", "{raw}/odd.json"], "found colour in t1w"),
        (["{raw}", "{out}", "participant", "-w", "{raw}/README/x"], "--work-dir"),
    ],
)
def test_wrong_usage_is_refused_in_one_sentence(words, message, derivative, dataset, tmp_path, capsys):
    (dataset / "list.json").write_text("[1]")
    (dataset / "odd.json").write_text('{"t1w": {"colour": "red"}}')
    places = {"raw": dataset, "out": tmp_path / "out", "done": derivative}
    try:
        assert main(["bids", *(word.format(**places) for word in words), "--device", "cpu", "--workers", "0"]) == 2
    finally:
        for name in ("list.json", "odd.json"):
            (dataset / name).unlink()
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert "Traceback" not in error


def test_participants_named_without_a_model_are_fitted_with_a_warning(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["bids", str(dataset), str(out), "participant", "--participant-label", "01", *TINY]) == 0
    text = " ".join(capsys.readouterr().err.split())
    assert "warning: found no model in OUT/model, so it is fitted to the 1 images named" in text
    assert "1 of 5 structural images are taken (suffix T1w" in text
    fitted = (out / "model" / "model.json").read_text()
    assert main(["bids", str(dataset), str(out), "participant", "group", "--device", "cpu", "--workers", "0"]) == 0
    assert (out / "model" / "model.json").read_text() == fitted
    assert "4 of 4 images in group_volumes.tsv" in capsys.readouterr().err


def test_a_dry_run_of_both_levels_writes_nothing(derivative, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Model, "segment", None)
    before = files_below(dataset)
    call = ["bids", str(dataset)]
    assert main([*call, str(tmp_path / "out"), "group", "--dry-run", *TINY]) == 0
    assert capsys.readouterr().out.splitlines() == [f"fit       {name}" for name in IMAGES[:4]]
    assert main([*call, str(derivative), "participant", "group", "--dry-run", "-w", str(tmp_path / "work")]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"skip      {name}" for name in IMAGES[:4]]
    assert "over 4 images would be written again" in " ".join(said.err.split())
    assert files_below(dataset) == before
    assert files_below(tmp_path) == []


def test_a_dataset_without_a_description_needs_the_flag(derivative, dataset, tmp_path, capsys):
    bare = shutil.copytree(dataset, tmp_path / "bare", ignore=shutil.ignore_patterns("derivatives"))
    (bare / "dataset_description.json").unlink()
    call = ["bids", str(bare), str(tmp_path / "out"), "participant", "--model", str(derivative / "model"), "--dry-run"]
    assert main(call) == 2
    assert main([*call, "--skip-bids-validation", "--notrack"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_limits_of_the_machine(derivative, dataset, tmp_path, monkeypatch):
    seen: dict[str, object] = {}
    threads = torch.get_num_threads()

    def look(_model: object, _scans: object, _job: object, args: Any) -> int:
        seen.update(workers=args.workers, memory=args.max_memory, cores=n_cpus(), total=total_memory())
        seen.update(tmp=tempfile.gettempdir())
        return 0

    monkeypatch.setattr("medseg.cli.bids.segment_and_report", look)
    monkeypatch.setattr("medseg.cli.main.start_fork_server", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    model = ["--model", str(derivative / "model"), "--device", "cpu"]
    call = ["bids", str(dataset), str(tmp_path / "out"), "participant", *model]
    try:
        assert main([*call, "--nthreads", "1", "--omp-nthreads", "1", "--mem", "3G", "-w", str(tmp_path / "work")]) == 0
    finally:
        limit_resources()
        torch.set_num_threads(threads)
    assert seen == {"workers": 1, "memory": 3.0, "cores": 1, "total": 3 << 30, "tmp": str(tmp_path / "work")}


def test_flags_of_nipreps_are_understood(capsys):
    words = "bids raw out participant --participant-label 01 02 --skip_bids_validation --n_cpus 4 --mem_mb 16000 " \
            "--omp-nthreads 2 -w work --bids-filter-file f.json --random-seed 7 --notrack -vv"  # fmt: skip
    args = build_parser().parse_args(words.split())
    assert (args.levels, args.participant_label) == (["participant"], ["01", "02"])
    assert (args.nthreads, args.memory) == (4, 16000 << 20)
    assert (args.random_seed, args.verbose, str(args.work_dir)) == (7, 2, "work")
    with pytest.raises(SystemExit):
        build_parser().parse_args(["bids", "raw", "out", "participant", "--mem", "lots"])
    assert "expected MB such as 8000, or 8G" in capsys.readouterr().err


def test_entities_of_a_name():
    found = entities_of("sub-01/ses-a/anat/sub-01_ses-a_acq-hi_T1w")
    assert found == {"sub": "01", "ses": "a", "acq": "hi", "suffix": "T1w"}
    assert entities_of("x") == {}
