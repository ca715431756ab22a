"""Room on the disk: told before the work, and how much is needed when there is none left."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medseg.batch.logs import explain
from medseg.batch.outputs import Job
from medseg.batch.segment_scan import keep_log, keep_record
from medseg.batch.space import full_disk, needed_bytes, refuse_when_full, warn_of_space
from medseg.errors import OutputError
from medseg.io.scan import Scan
from medseg.model.outputs import Output
from medseg.model.record import Record, write_record
from medseg.spatial.geometry import Geometry

MILLION = Geometry((100, 100, 100), np.eye(4))


def scans(n: int) -> list[Scan]:
    return [Scan(f"s{k}", (Path(f"s{k}.nii"),), "nifti", geometry=MILLION) for k in range(n)]


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def no_room(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    def write(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", write)


def test_what_outputs_need():
    assert needed_bytes([Scan("a", (), "nifti", verdict="corrupt_file")], list(Output)) == 0
    assert needed_bytes(scans(2), [Output.NIFTI]) == pytest.approx(2 * (0.05 + 0.6) * 1e6)
    large = Scan("b", (), "nifti", geometry=Geometry((1000, 1000, 100), np.eye(4)))
    assert needed_bytes([large], [Output.FRACTIONS]) == pytest.approx(0.5 * 1e8 + 0.6 * 7e6)


def test_a_small_disk_is_told_before_the_work(tmp_path, monkeypatch, capsys):
    job = Job(tmp_path / "out")
    room(monkeypatch, 10_000_000)
    warn_of_space(job, scans(5))  # 5 * (0.05 + 0.06 + 0.6) + 6 MB
    assert capsys.readouterr().err == ""
    warn_of_space(job, scans(10))
    told = "out: 10 MB are free on its disk, about 13 MB will be needed: free space there, or give another --out\n"
    assert capsys.readouterr().err.replace("\n", " ").strip().endswith(told.strip())
    for scan in scans(10):
        write_record(job.out, Record(scan.id, "done"))
    warn_of_space(job, scans(10))
    assert capsys.readouterr().err == ""


def test_a_full_disk_names_what_is_needed(tmp_path, monkeypatch):
    job = Job(tmp_path)
    refuse_when_full(job, scans(10))
    room(monkeypatch, 1_000)
    no_room(monkeypatch)
    with pytest.raises(OutputError, match=r"the disk is full \(1\.0 kB are free, about 13 MB are needed\)") as caught:
        refuse_when_full(job, scans(10))
    assert (caught.value.code, caught.value.place) == ("disk_full", tmp_path)
    no_room(monkeypatch, errno.EROFS)
    with pytest.raises(OutputError, match="the file system can only be read"):
        refuse_when_full(job, scans(10))


def test_the_reason_names_no_path(tmp_path):
    """A manifest is handed on; the path of the output folder may hold names."""
    error = full_disk(Job(tmp_path), scans(1))
    code, reason = explain(error, tmp_path)
    assert code == "disk_full"
    assert reason.startswith("cannot be written: the disk is full (")
    assert str(tmp_path) not in reason
    elsewhere = OutputError("cannot be written: the disk is full", code="disk_full", place=Path("/somewhere"))
    assert explain(elsewhere, tmp_path) == (
        "disk_full", "the folder for temporary files (TMPDIR): cannot be written: the disk is full",
    )  # fmt: skip
    assert explain(MemoryError(), tmp_path)[0] == explain(RuntimeError("can't allocate memory"), tmp_path)[0]
    assert explain(RuntimeError("can't start new thread"), tmp_path)[0] == "out_of_memory"
    assert explain(OSError(errno.EIO, "Input/output error"), tmp_path)[0] == "machine"


def test_a_record_that_says_it_already_warns_no_more(tmp_path, monkeypatch, caplog):
    no_room(monkeypatch)
    keep_record(tmp_path, Record("a", "failed", "disk_full"))
    keep_log(tmp_path, Record("a", "failed", "disk_full"), ["somewhere"])
    assert caplog.messages == []
    keep_record(tmp_path, Record("b", "failed", "timeout"))
    keep_log(tmp_path, Record("b", "failed", "timeout"), ["somewhere"])
    assert caplog.messages == ["b: its record could not be written (disk_full)", "b: its log could not be written"]


def test_memory_names_the_limit_of_the_shell(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2_000_000_000, resource.RLIM_INFINITY))
    code, reason = explain(MemoryError(), tmp_path)
    assert code == "out_of_memory"
    assert "(ulimit -v allows 2.0 GB, ulimit -d allows 2.0 GB)" in reason
