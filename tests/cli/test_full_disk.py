"""A disk that fills up at any file: one sentence, what is whole stays, and the same command goes on."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from medseg.cli.main import main
from medseg.model.model import Model
from medseg.network import training
from tests.support.cohorts import leftovers, write_cohort


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("two") / "in", 2)


def full_at(monkeypatch: pytest.MonkeyPatch, *patterns: str, number: int = errno.ENOSPC) -> None:
    """Have the system refuse the last step of every file or folder whose path matches."""
    replace, rename = Path.replace, Path.rename

    def refuse(target: object) -> None:
        if any(fnmatch(str(target), pattern) for pattern in patterns):
            raise OSError(number, os.strerror(number))

    def replaced(self: Path, target: Path) -> Path:
        refuse(target)
        return replace(self, target)

    def renamed(self: Path, target: Path) -> Path:
        refuse(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "rename", renamed)


def manifest(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open() as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def files_of(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def segment(scans: Path, model: Path, out: Path, *more: str) -> int:
    return main(["segment", str(scans), "--model", str(model), "--out", str(out), "--workers", "0", *more])


OF_ONE_SCAN = ("*good000_seg.nii.gz", "*good000.seg.nrrd", "*good000.mrb", "*good000_fraction2.nii.gz",
               "*good000.npz", "*good000.png", "*good000.js")  # fmt: skip


def test_an_output_that_finds_no_room_costs_its_scan(two, quick_model, tmp_path, monkeypatch, capsys):
    out, words = tmp_path / "out", ("--write", "nifti,seg.nrrd,mrb,fractions")
    assert segment(two, quick_model, tmp_path / "whole", *words) == 0
    for pattern in OF_ONE_SCAN:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            full_at(patch, pattern)
            assert segment(two, quick_model, out, *words) == 1
        told, rows = capsys.readouterr().err, manifest(out)
        assert rows["good000"]["status"] == "failed"
        assert rows["good000"]["reason"].startswith("disk_full: cannot be written: the disk is full (")
        assert rows["good001"]["status"] == "done"
        assert "Traceback" not in told
        assert f"{out}: cannot be written: the disk is full (" in told.replace("\n", " ")
        assert " are needed); free space there" in told.replace("\n", " ")
        assert leftovers(out) == []
        if not (out / "kept").exists():
            (out / "kept").write_text(str((out / "good001_seg.nii.gz").stat().st_mtime_ns))
    assert str((out / "good001_seg.nii.gz").stat().st_mtime_ns) == (out / "kept").read_text(), "done twice"
    assert segment(two, quick_model, out, *words) == 0
    (out / "kept").unlink()
    assert files_of(out) == files_of(tmp_path / "whole")
    assert (out / "good000_seg.nii.gz").read_bytes() == (tmp_path / "whole" / "good000_seg.nii.gz").read_bytes()


OF_THE_FOLDER = ("*niivue.js", "*manifest.csv", "*quality.csv", "*places.csv", "*labels.ctbl", "*run.json",
                 "*report.html")  # fmt: skip
"""In this order: the viewer is written once."""


def test_tables_and_report_that_find_no_room_end_the_command(two, quick_model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    for pattern in OF_THE_FOLDER:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            full_at(patch, pattern)
            assert segment(two, quick_model, out) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith(f"medseg: {out}")
        assert f"{pattern[1:]}: cannot be written: the disk is full (" in last
        assert " are needed); free space there" in last
        assert leftovers(out) == []
        assert (out / "good001_seg.nii.gz").is_file()
    stamp = (out / "good001_seg.nii.gz").stat().st_mtime_ns
    assert segment(two, quick_model, out) == 0
    assert (out / "good001_seg.nii.gz").stat().st_mtime_ns == stamp, "done twice"
    assert {row["status"] for row in manifest(out).values()} == {"done"}


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "the disk is full ("), (errno.EROFS, "can only be read"),
                                               (errno.EDQUOT, "quota is used up"),
                                               (errno.EIO, "share failed (Input/output error)")])  # fmt: skip
def test_a_disk_that_takes_nothing_more_ends_the_run(two, quick_model, tmp_path, monkeypatch, capsys, number, words):
    out, write = tmp_path / "out", Path.write_bytes
    is_full = False

    def write_bytes(self: Path, content: bytes) -> int:
        if is_full:
            raise OSError(number, os.strerror(number))
        return write(self, content)

    def fill_up(*_: object, **__: object) -> None:
        nonlocal is_full
        is_full = True

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr("medseg.batch.segment_scan.write_pictures", fill_up)
    assert segment(two, quick_model, out) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"medseg: {out}: cannot be written: ")
    assert words in last
    assert (" are needed)" in last) == (number == errno.ENOSPC)
    assert not (out / "good001_seg.nii.gz").exists(), "the second scan was begun in vain"
    assert leftovers(out) == []


def test_records_that_find_no_room_are_in_the_manifest(two, quick_model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        full_at(patch, "*/.medseg/*.json", "*good000.seg.nrrd")
        assert segment(two, quick_model, out) == 1
    assert {name: row["status"] for name, row in manifest(out).items()} == {"good000": "failed", "good001": "done"}


@pytest.mark.parametrize("pattern", ["*/model", "*.model.training/*", "*/report/training-*.png"])
def test_training_that_finds_no_room(two, tmp_path, monkeypatch, capsys, pattern):
    out = tmp_path / "out"
    words = ["run", str(two), "--out", str(out), "--config", "smoke", "--workers", "0", "--device", "cpu",
             "--set", "training.max_steps=2", "--set", "clustering.method=cohort",
             "--set", "clustering.bias_sigma_mm=null"]  # fmt: skip
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    with monkeypatch.context() as patch:
        full_at(patch, pattern)
        assert main(words) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"medseg: {out}")
    assert "cannot be written: the disk is full (" in last
    assert " are needed); free space there" in last
    assert not (out / "model").exists()
    assert main(words) == 0
    assert Model.load(out / "model").record.n_steps == 2
    assert leftovers(out) == []


def test_export_and_evaluate_and_label(two, quick_model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert segment(two, quick_model, out) == 0
    shutil.copytree(out, tmp_path / "truths", ignore=shutil.ignore_patterns("*.csv", "report", ".*", "*.nrrd"))
    commands = {
        "*bundle": ["export", str(quick_model), "--out", str(tmp_path / "bundle")],
        "*metrics.csv": ["evaluate", str(out), str(tmp_path / "truths"), "--out", str(tmp_path / "metrics.csv")],
        "*labels.yaml": ["label", str(quick_model), "--save", str(tmp_path / "labels.yaml")],
        "*report.html": ["report", str(out)],
    }
    for pattern, words in commands.items():
        capsys.readouterr()
        with monkeypatch.context() as patch:
            full_at(patch, pattern)
            assert main(words) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{pattern[1:]}: cannot be written: the disk is full (" in last
        assert main(words) in (0, 1)
