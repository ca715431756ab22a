from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from medseg import ConfigError, Model, find_scans
from medseg.batch import resources
from medseg.batch import segment_scans as batch
from medseg.batch.outputs import Job
from medseg.batch.resume import model_key
from medseg.cli.main import main
from medseg.io.atomic import recover_folder, remove_leftovers, scratch_folder, whole_folder
from medseg.model.outputs import Output
from tests.support.cohorts import KINDS, environment, leftovers, manifest, medseg, write_poison


def test_whatever_a_scan_does_costs_that_scan_only(cohort, quick_model, tmp_path):
    folder = tmp_path / "in"
    bad = write_poison(folder, [*KINDS, "raiser"])
    for path in cohort.glob("*"):
        os.link(path, folder / path.name)
    words = ["--timeout", 20, "--max-memory", 1.5, "--workers", 2, "--log-json"]
    done = medseg("segment", folder, "--model", quick_model, "--out", tmp_path / "out", *words, poison=True)
    rows = manifest(tmp_path / "out")
    assert done.returncode == 1
    assert {name for name, row in rows.items() if row["status"] == "done"} == {f"good{n:03d}" for n in range(5)}
    codes = {name.lstrip("0123456789"): rows[name]["reason"].split(":")[0] for name in bad}
    assert codes == {
        "corrupt": "corrupt_file", "truncated": "corrupt_file", "lying": "corrupt_file", "nan": "not_finite",
        "flat": "not_a_volume", "segfault": "crashed", "eater": "out_of_memory", "sleeper": "timeout",
        "raiser": "error",
    }  # fmt: skip
    assert "SIGSEGV" in rows["05segfault"]["reason"]
    events = [json.loads(line) for line in done.stderr.splitlines()]
    ended = [item for item in events if item["event"] == "scan"]
    assert len(ended) == len({item["scan"] for item in ended}) == ended[-1]["done"] == ended[-1]["total"] == 14
    assert ended[-1]["failed"] == 9
    logs = {path.stem: path.read_text() for path in (tmp_path / "out" / "log").iterdir()}
    assert set(logs) == {"05segfault", "06eater", "07sleeper", "08raiser"}
    assert all("sitecustomize.py" in text and "_poisoned" in text for text in logs.values())
    assert not any(str(tmp_path) in text or "patient" in text for text in logs.values())
    assert leftovers(tmp_path) == []


def test_a_worker_that_cannot_start_stops_the_run(cohort, quick_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("medseg.batch.cluster.CONNECT_S", 1)
    words = ["segment", str(cohort), "--model", str(quick_model), "--out", str(tmp_path / "out"), "--device", "cpu"]
    model = Model.load(quick_model)
    (tmp_path / "gone").mkdir()
    with pytest.raises(ConfigError, match="worker processes cannot start"):
        batch.segment_scans(
            model, tmp_path / "gone", find_scans(cohort), Job(tmp_path / "out"), batch.Options(workers=1)
        )
    assert main([*words, "--shard", "0/2"]) == 2
    assert "--shard 0/2: expected i/n" in capsys.readouterr().err
    assert main([*words, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err
    assert "no Dask scheduler answers there within 1 s" in said or "Dask is not installed" in said


def test_shards_share_one_folder_and_damaged_outputs_are_done_again(cohort, quick_model, tmp_path):
    out = tmp_path / "out"
    words = ["segment", str(cohort), "--model", str(quick_model), "--out", str(out), "--workers", "0"]
    assert main([*words, "--shard", "1/2"]) == 0
    assert sorted(manifest(out)) == ["good000", "good002", "good004"]
    assert main([*words, "--shard", "2/2"]) == 0
    rows = manifest(out)
    assert [row["status"] for row in rows.values()] == ["done"] * 5
    files = {path: path.stat().st_mtime_ns for path in out.glob("*_seg.nii.gz")}
    whole = (out / "good001_seg.nii.gz").read_bytes()
    (out / "good001_seg.nii.gz").write_bytes(whole[:-7])
    (out / "good002.seg.nrrd").unlink()
    (out / f".medseg-tmp.0a0a0a.1.ffffffff.good001_seg.nii.gz").write_bytes(b"half")  # noqa: F541
    assert main(words) == 0
    again = {path.name for path, before in files.items() if path.stat().st_mtime_ns != before}
    assert again == {"good001_seg.nii.gz", "good002_seg.nii.gz"}
    assert (out / "good001_seg.nii.gz").read_bytes() == whole
    assert (out / "good002.seg.nrrd").is_file()
    assert leftovers(out) == []


def test_a_link_in_the_output_folder_leads_nowhere(cohort, quick_model, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    os.link(cohort / "good000.nii.gz", tmp_path / "in" / "deep" / "a.nii.gz")
    (tmp_path / "elsewhere").mkdir()
    for name in (".", "report", "log"):
        (tmp_path / "out" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name / "deep").symlink_to(tmp_path / "elsewhere")
    words = ["segment", str(tmp_path / "in"), "--model", str(quick_model), "--out", str(tmp_path / "out")]
    assert main([*words, "--workers", "0"]) == 1
    assert manifest(tmp_path / "out")["deep/a"]["reason"].startswith("bad_name: ")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_settings_decide_what_is_done(quick_model, tmp_path):
    model = Model.load(quick_model)
    key = model_key(model)
    facts = Job(tmp_path).facts(key)
    assert Job(tmp_path / "b").facts(key) == facts
    assert Job(tmp_path, frozenset({Output.SEG_NRRD, Output.NIFTI})).facts(key) == facts
    assert Job(tmp_path, frozenset({Output.NIFTI})).facts(key) != facts
    assert Job(tmp_path, masks=tmp_path).facts(key) != facts
    assert Job(tmp_path, min_confidence=0.5).facts(key) != facts
    assert Job(tmp_path).facts(model_key(model.relabelled(model.table, {3: 2}))) != facts
    assert Job(tmp_path).facts(model_key(model.relabelled(model.table.replace(1, name="x"), {}))) != facts


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    with scratch_folder(tmp_path / "mine") as mine:
        other = mine.name.replace(f".{os.getpid()}.", ".1.")
        dead = mine.name.replace(f".{os.getpid()}.", f".{2**22 + 1}.")
        foreign = ".medseg-tmp.ffffff.7.00000000.x.nii.gz"
        for name in (other, dead, foreign):
            (tmp_path / name).touch()
        remove_leftovers(tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {mine.name, other, foreign}
        remove_leftovers(tmp_path, "x.nii.gz", whoever=True)
        assert {p.name for p in tmp_path.iterdir()} == {mine.name, other}
        os.utime(tmp_path / other, (0, 0))
        (tmp_path / foreign).touch()
        os.utime(tmp_path / foreign, (0, time.time() - 90_000))
        remove_leftovers(tmp_path)
        assert foreign not in leftovers(tmp_path)
    assert leftovers(tmp_path) == [other]


HOLD = """
import sys
from pathlib import Path
from medseg.io.atomic import remove_leftovers, scratch_folder
folder = Path(sys.argv[1])
with scratch_folder(folder / "held") as held:
    print(held.name, flush=True)
    sys.stdin.readline()
    remove_leftovers(folder)
    print(sorted(path.name for path in folder.iterdir()), flush=True)
    sys.stdin.readline()
"""


def test_containers_of_one_host_name_leave_each_other_alone(tmp_path):
    """Both have the same numbers of processes, which mean others: each took those of the other for dead ones."""
    container = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", HOLD, str(tmp_path)]
    if subprocess.run([*container[:4], "true"], capture_output=True, check=False).returncode:
        pytest.skip("PID namespaces can be made by root on Linux only")
    pipe = subprocess.PIPE
    both = [subprocess.Popen(container, stdin=pipe, stdout=pipe, text=True, env=environment()) for _ in range(2)]
    streams = [(one.stdin, one.stdout) for one in both]
    names = []
    for _, said in streams:
        assert said is not None
        names.append(said.readline().strip())
    seen = []
    for told, said in streams:
        assert told is not None
        assert said is not None
        print(file=told, flush=True)
        seen.append(said.readline().strip())
    remove_leftovers(tmp_path)
    assert seen == [str(sorted(names))] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for one in both:
        one.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_lost_between_two_renames_comes_back(quick_model, tmp_path):
    old = tmp_path / ".medseg-old.model"
    Model.load(quick_model).save(old)
    assert Model.load(tmp_path / "model").fingerprint == Model.load(quick_model).fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    old.mkdir()
    recover_folder(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "model").rename(old)
    with whole_folder(tmp_path / "model", marker="model.json") as temporary:
        (temporary / "model.json").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_job_sees_its_own_share_of_the_machine(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000000000")
    (tmp_path / "memory.current").write_text("900000000")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000000\n")
    (tmp_path / "cpu.max").write_text("150000 100000")
    monkeypatch.setattr(resources, "own_groups", lambda: iter([tmp_path]))
    assert resources.total_memory() == 1_000_000_000
    assert resources.available_memory() == 150_000_000
    assert resources.n_cpus() <= 2
    (tmp_path / "cpu.max").write_text("max 100000")
    (tmp_path / "memory.max").write_text("max")
    assert resources.total_memory() != 1_000_000_000
    assert resources.resident_memory(os.getpid()) > 10_000_000
    assert resources.resident_memory(2**22 + 1) == 0


def test_workers_are_planned_from_scans_cores_and_memory(cohort, monkeypatch):
    scans = find_scans(cohort)
    monkeypatch.setattr(batch, "n_cpus", lambda: 64)
    monkeypatch.setattr(batch, "total_memory", lambda: 100 << 30)
    assert batch.planned_workers(scans, gpu=False) == 5
    assert batch.planned_workers(scans * 20, gpu=False) == 16
    assert batch.planned_workers(scans * 20, gpu=True) == 2
    monkeypatch.setattr(batch, "total_memory", lambda: 3 << 30)
    assert batch.planned_workers(scans * 20, gpu=False) == 2
    assert batch.planned_workers([], gpu=False) == 1
