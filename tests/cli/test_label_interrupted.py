"""`medseg label` stopped at any moment: the same command finishes the job, and ends as if it never was stopped."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from medseg import Model
from medseg.cli.label_journal import Journal
from medseg.cli.main import main
from medseg.model.record import read_records
from tests.support.cohorts import command, environment, leftovers, manifest, write_cohort

N_ROUNDS = int(os.environ.get("MEDSEG_TEST_ROUNDS", "50"))
MERGE = ["--merge", "1,2", "--name", "1=fluid"]
CUT = ["--cut", "2", "--name", "1=dark"]
STEPS = ("replace", "rename", "touch")
"""Methods of `Path` by which a file or folder appears in one step."""


@pytest.fixture(scope="module")
def made(quick_model, tmp_path_factory):
    """Two scans segmented, beside their model."""
    folder = tmp_path_factory.mktemp("made")
    write_cohort(folder / "in", 2)
    out = folder / "out"
    out.mkdir()
    shutil.copytree(quick_model, out / "model")
    words = ["segment", str(folder / "in"), "--model", str(out / "model"), "--out", str(out), "--workers", "0"]
    assert main([*words, "--write", "nifti,seg.nrrd"]) == 0
    return out


def state(out: Path) -> dict[str, Any]:
    """All that a renaming touches."""
    files = [
        path for path in out.rglob("*") if path.name.endswith((".nii.gz", ".nrrd", ".png", ".ctbl", ".safetensors"))
    ]
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in manifest(out).values()]
    model = Model.load(out / "model", device="cpu")
    return {
        "files": {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "rows": rows,
        "model": (model.fingerprint, model.table),
        "jobs": [(record.job, record.outputs, record.volumes_mm3) for record in read_records(out)],
        "left": leftovers(out) + [path.name for path in (out / ".medseg").glob("relabel*")],
    }


def label(out: Path, words: list[str]) -> int:
    return main(["label", str(out / "model"), *words])


@pytest.fixture(scope="module")
def expected(made, tmp_path_factory):
    """What comes of a command that is not interrupted."""
    found = {}
    for name, words in (("merge", MERGE), ("cut", CUT)):
        out = Path(shutil.copytree(made, tmp_path_factory.mktemp(name) / "out"))
        assert label(out, words) == 0
        found[name] = state(out)
        assert found[name]["left"] == []
    assert found["merge"] != found["cut"]
    return found


class Stop:
    """Ctrl-C at the n-th step, before or after it is done."""

    def __init__(self, monkeypatch, n: int, *, is_before: bool) -> None:
        self.left = n
        for name in STEPS:
            monkeypatch.setattr(Path, name, self.counted(getattr(Path, name), is_before=is_before))

    def counted(self, real, *, is_before):
        def step(path, *words, **options):
            self.left -= 1
            if self.left == 0 and is_before:
                raise KeyboardInterrupt
            result = real(path, *words, **options)
            if self.left == 0:
                raise KeyboardInterrupt
            return result

        return step


def stop_everywhere(made, tmp_path, monkeypatch, expected, words, stride):
    """Stop at every `stride`-th step, run again, compare; returns how many stops there were."""
    n = 1
    while True:
        for is_before in (True, False):
            out = Path(shutil.copytree(made, tmp_path / "out"))
            with monkeypatch.context() as patched:
                stop = Stop(patched, n, is_before=is_before)
                code = label(out, words)
            if stop.left > 0:
                assert code == 0
                return n
            assert code == 130
            assert label(out, words) == 0
            assert state(out) == expected, f"stopped at step {n}"
            shutil.rmtree(out)
        n += stride


@pytest.mark.parametrize(("name", "words"), [("merge", MERGE), ("cut", CUT)])
def test_ctrl_c_at_some_steps(made, tmp_path, monkeypatch, expected, name, words):
    assert stop_everywhere(made, tmp_path, monkeypatch, expected[name], words, 9) > 20


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), [("merge", MERGE), ("cut", CUT)])
def test_ctrl_c_at_every_step(made, tmp_path, monkeypatch, expected, name, words):
    print(name, "steps:", stop_everywhere(made, tmp_path, monkeypatch, expected[name], words, 1))


@pytest.mark.slow
def test_kill_9_at_any_moment(made, tmp_path, expected):
    """Each round kills the command at a random moment, often twice; the same command finishes the rest."""
    chance, n_between = random.Random(0), 0
    started = time.monotonic()
    out = Path(shutil.copytree(made, tmp_path / "out"))
    whole = command("label", out / "model", *CUT)
    subprocess.run(whole, env=environment(), check=True, capture_output=True)
    longest = 1.1 * (time.monotonic() - started)
    for number in range(N_ROUNDS):
        shutil.rmtree(out)
        shutil.copytree(made, out)
        name, words = ("merge", MERGE) if number % 2 else ("cut", CUT)
        for _ in range(1 + number % 3 // 2):
            again = command("label", out / "model", *words)
            run = subprocess.Popen(again, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            # Most of the time goes into importing; nothing of interest happens before there is a journal.
            while run.poll() is None and Journal.found(out) is None and chance.random() > 0.002:
                time.sleep(0.01)
            time.sleep(chance.random() * longest / 4)
            if run.poll() is None:
                os.kill(run.pid, signal.SIGKILL)
            run.wait()
            n_between += Journal.found(out) is not None
        done = subprocess.run(again, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert state(out) == expected[name], f"round {number}"
    print(f"{N_ROUNDS} rounds, {n_between} kills between the first change and the last")


def test_another_command_finishes_what_was_begun_first(made, tmp_path, monkeypatch, expected, capsys):
    out = Path(shutil.copytree(made, tmp_path / "out"))
    other = Path(shutil.copytree(made / "model", tmp_path / "other"))
    with monkeypatch.context() as patched:
        Stop(patched, 14, is_before=True)
        assert label(out, MERGE) == 130
    journal = Journal.found(out)
    assert journal is not None
    Model.load(other).relabelled(Model.load(other).table, {3: 2}).save(other)
    assert main(["label", str(other), "--name", "1=x", "--out", str(out)]) == 2
    assert "renaming its labels with another model was interrupted" in capsys.readouterr().err
    assert label(out, ["--color", "3=1,2,3"]) == 0
    assert "an earlier renaming was interrupted and is finished now" in capsys.readouterr().err
    found = state(out)
    assert found["left"] == []
    assert found["model"][1][1].name == "fluid"
    assert found["model"][1][3].color == (1, 2, 3)
    assert [row["status"] for row in found["rows"]] == ["done", "done"]
    same = {name for name in expected["merge"]["files"] if name.endswith("_seg.nii.gz")}
    assert {name: found["files"][name] for name in same} == {name: expected["merge"]["files"][name] for name in same}


def test_a_run_and_a_renaming_do_not_meet(made, tmp_path, capsys):
    pytest.importorskip("fcntl")
    from medseg.batch.busy import alone, writing

    out = Path(shutil.copytree(made, tmp_path / "out"))
    with writing(out), writing(out):
        assert label(out, MERGE) == 2
        assert "another command is writing into it" in capsys.readouterr().err
    with alone(out):
        words = ["segment", str(made.parent / "in"), "--model", str(out / "model"), "--out", str(out)]
        assert main(words) == 2
        assert "medseg label is rewriting it" in capsys.readouterr().err
    assert label(out, MERGE) == 0


def test_where_there_are_no_locks_nothing_is_held(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    from medseg.batch.busy import alone

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(tmp_path), alone(tmp_path):
        pass
    (tmp_path / "file").touch()
    with alone(tmp_path / "file"):
        pass
