"""`--dry-run`: what would be done with each scan, and nothing written; `-q` and `-v`: how much is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.cli.main import main
from medseg.model.model import Model
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid
from tests.support.scans import write_nifti


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms and a damaged file."""
    folder = tmp_path_factory.mktemp("dry") / "in"
    for seed, name in enumerate("abc"):
        write_nifti(phantom(small_grid(), noise=8.0, seed=seed)[0], folder / f"{name}.nii.gz")
    (folder / "bad.nii.gz").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def done(scans: Path, quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the first scan."""
    out = tmp_path_factory.mktemp("done") / "out"
    words = ["segment", str(scans), "--model", str(quick_model), "--out", str(out), "--workers", "0", "--device", "cpu"]
    assert main([*words, "--include", "a.nii.gz"]) == 0
    return out


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_segmenting_is_planned(scans, done, quick_model, capsys, monkeypatch):
    before = state_of(done.parent)
    monkeypatch.setattr(Model, "segment", None)
    words = ["segment", str(scans), "--model", str(quick_model), "--out", str(done), "--device", "cpu", "--dry-run"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["skip      a", "segment   b",
                                     "refuse    bad  corrupt_file: bad.nii.gz: not a readable NIfTI file, though its "
                                     "name says so; export or copy it again", "segment   c"]  # fmt: skip
    text = " ".join(said.err.split())
    assert "4 scans: 2 to segment, 1 done already, 1 refused" in text
    assert "(a rough guess, for none was measured here)" in text
    assert "dry run: nothing was written" in text
    assert state_of(done.parent) == before
    assert main([*words, "--shard", "1/2"]) == 1
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["a", "bad"]
    assert main([*words, "--exclude", "bad*", "--write", "dicomseg"]) == 1
    assert capsys.readouterr().out.count("no_reference: ") == 3


def test_a_run_is_planned_from_nothing(scans, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    words = ["run", str(scans), "--out", str(out), "--config", "smoke", "--device", "cpu", "--dry-run"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["segment", "a"], ["segment", "b"], ["refuse", "bad"], ["segment", "c"]]  # fmt: skip
    assert "a model would be fitted to 3 scans, 30 steps at most" in " ".join(said.err.split())
    assert list(tmp_path.iterdir()) == []
    masks = tmp_path / "masks"
    image, labels = phantom(small_grid())
    write_nifti(
        MetaTensor(torch.from_numpy((labels > 0).astype(np.uint8))[None], affine=image.affine), masks / "a.nii.gz"
    )
    assert main([*words, "--masks", str(masks), "--include", "a.nii.gz"]) == 0
    assert main([*words, "--masks", str(tmp_path), "--include", "a.nii.gz"]) == 1
    assert "a  no_mask: found no mask below the folder of masks" in capsys.readouterr().out


def test_training_is_planned(scans, quick_model, tmp_path, capsys):
    before = state_of(quick_model)
    words = ["train", str(scans), "--config", "smoke", "--dry-run", "--model"]
    assert main([*words, str(quick_model)]) == 1
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["fit", "fit", "refuse", "fit"]
    assert "30 steps at most; the model that lies there would be replaced" in " ".join(said.err.split())
    assert state_of(quick_model) == before
    (tmp_path / ".model.training").mkdir()
    assert main([*words, str(tmp_path / "model")]) == 1
    assert "3 scans, from its checkpoint on" in " ".join(capsys.readouterr().err.split())


def test_a_plan_as_json_lines(scans, done, quick_model, capsys):
    words = ["segment", str(scans), "--model", str(quick_model), "--out", str(done), "--device", "cpu", "--dry-run"]
    main([*words, "--log-json"])
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    plan = [(event["scan"], event["action"]) for event in events if event["event"] == "plan"]
    assert plan == [("a", "skip"), ("b", "segment"), ("bad", "refuse"), ("c", "segment")]
    (found,) = [event for event in events if event["event"] == "estimate"]
    assert 0 < found["seconds"][0] < found["seconds"][1]
    assert found["free_bytes"] > found["bytes"][1] > found["bytes"][0] > 0


def test_what_run_refuses_a_plan_refuses_too(scans, done, model_folder, capsys):
    words = ["segment", str(scans), "--include", "b.nii.gz", "--model", str(model_folder), "--out", str(done)]
    assert main([*words, "--device", "cpu", "--dry-run"]) == 2
    assert "results of another model for other scans" in " ".join(capsys.readouterr().err.split())


def test_a_quiet_command_says_errors_and_its_last_line(scans, quick_model, tmp_path, capsys):
    words = ["segment", str(scans), "--model", str(quick_model), "--workers", "0", "--device", "cpu", "-q"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("bad: refused: corrupt_file")
    assert lines[1].startswith("report: ")
    assert main([*words, "--out", str(tmp_path / "out"), "--dry-run"]) == 1
    assert capsys.readouterr().err.splitlines() == ["dry run: nothing was written"]


def test_a_verbose_command_says_what_is_decided_about_each_scan(scans, done, quick_model, capsys):
    words = ["segment", str(scans), "--model", str(quick_model), "--out", str(done), "--workers", "0", "-v"]
    assert main([*words, "--include", "[ab].nii.gz", "--device", "cpu"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("a: ")][1:] == ["a: done before, skipped"]
    told = [line for line in lines if line.startswith("b: ")]
    assert told[0].startswith("b: ok: nifti, Geometry(shape=(35, 39, 33)")
    assert told[1].startswith("b: done in ")
    assert " ml" in told[1]
    assert main([*words, "--include", "bad.nii.gz"]) == 1
    assert "bad: corrupt_file: bad.nii.gz: not a readable" in capsys.readouterr().err


def test_quiet_and_verbose_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        main(["segment", "x", "--model", "m", "--out", "o", "-q", "-v"])
    assert "not allowed with" in capsys.readouterr().err
