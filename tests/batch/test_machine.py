"""Slow proof that batches survive what machines and schedulers do: signals, limits, missing folders, odd places."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from medseg.batch.pool import Limits, Pool
from medseg.batch.stopping import stoppable
from sample_data.phantom import phantom
from tests.support.cohorts import command, environment, leftovers, manifest, medseg, small_grid, thick_series
from tests.support.paths import ROOT
from tests.support.scans import write_nifti

N_SCANS = 6
CGROUPS = Path("/sys/fs/cgroup/memory")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slow_scans(tmp_path_factory):
    """Scans that take a second each, so that there is a middle in which to stop."""
    folder = tmp_path_factory.mktemp("slow") / "in"
    for seed in range(N_SCANS):
        write_nifti(phantom(small_grid(), noise=8.0, seed=seed)[0], folder / f"slow{seed}.nii.gz")
    return folder


def in_the_middle(words, out):
    """A run that has done some of its scans, in a process group of its own."""
    run = subprocess.Popen(command(*words), env=environment(poison=True), stderr=subprocess.PIPE, text=True,
                           start_new_session=True)  # fmt: skip
    while run.poll() is None and len(list((out / ".medseg").glob("*.json"))) < 2:
        time.sleep(0.02)
    assert run.poll() is None, run.stderr
    return run


@pytest.fixture
def words(slow_scans, quick_model, tmp_path):
    return ["segment", slow_scans, "--model", quick_model, "--out", tmp_path / "out", "--workers", 2]


def goes_on(words, out):
    """The same command does the rest, and nothing twice."""
    done = {p: p.stat().st_mtime_ns for p in (out / ".medseg").glob("*.json") if '"done"' in p.read_text()}
    assert medseg(*words).returncode == 0
    assert {row["status"] for row in manifest(out).values()} == {"done"}
    assert len(manifest(out)) == N_SCANS
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
    assert leftovers(out) == []


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the command", "all processes"])
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_as_schedulers_send_it(words, tmp_path, whom, kind):
    """Slurm sends SIGTERM to the batch script or to every process of a step, and half a minute later SIGKILL."""
    out = tmp_path / "out"
    run = in_the_middle(words, out)
    os.kill(run.pid, kind) if whom == "the command" else os.killpg(run.pid, kind)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "stopped; the same command goes on from here" in said
    assert "Traceback" not in said
    assert leftovers(out) == []
    goes_on(words, out)


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_without_a_word_of_python(words, tmp_path):
    out = tmp_path / "out"
    run = in_the_middle(words, out)
    for _ in range(2):
        os.kill(run.pid, signal.SIGINT)
        time.sleep(0.02)
    _, said = run.communicate(timeout=30)
    assert run.returncode in {130, -signal.SIGINT}
    assert "Traceback" not in said
    goes_on(words, out)


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_replaced(words, tmp_path):
    out = tmp_path / "out"
    run = in_the_middle([*words, "--timeout", "15"], out)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    workers = [pid for child in children for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()]
    os.kill(int(workers[0]), signal.SIGSTOP)
    run.communicate(timeout=300)
    assert run.returncode == 1
    reasons = [row["reason"] for row in manifest(out).values() if row["status"] != "done"]
    assert len(reasons) == 1
    assert reasons[0].startswith("timeout: no result after")
    goes_on(words, out)


@pytest.mark.slow
def test_without_shared_memory(words, tmp_path):
    shell = 'mount -t tmpfs -o ro,size=4k none /dev/shm && exec "$@"'
    hidden = ["unshare", "-m", "bash", "-c", shell, "_"]
    if subprocess.run([*hidden, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root on Linux can hide /dev/shm")
    done = subprocess.run([*hidden, *command(*words)], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in manifest(tmp_path / "out").values()} == {"done"}


@pytest.mark.slow
@pytest.mark.parametrize("limit_mb", [520, 900])
def test_in_a_memory_group_that_is_too_small(limit_mb, words, tmp_path):
    """It is told at once, or the kernel ends workers, which costs scans: the command itself lives and says why."""
    group = CGROUPS / f"medseg-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_mb << 20))
    except OSError:
        pytest.skip("control groups of version 1 can be made by root on Linux only")
    shell = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    try:
        done = subprocess.run(["bash", "-c", shell, "_", *command(*words)], env=environment(), capture_output=True,
                              text=True, check=False, timeout=500)  # fmt: skip
        assert "Traceback" not in done.stderr
        if limit_mb < 700:
            assert done.returncode == 2
            assert "medseg: memory: found 545 MB for this machine, container or job" in done.stderr
            return
        if done.returncode == 2:
            assert "worker processes cannot start (the last ended by SIGKILL, most likely for lack of" in done.stderr
            return
        assert done.returncode in {0, 1}, done.stderr
        rows = manifest(tmp_path / "out").values()
        assert len(rows) == N_SCANS
        assert all(row["reason"].startswith("out_of_memory: ") for row in rows if row["status"] != "done")
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.2)
        group.rmdir()
    goes_on(words, tmp_path / "out")


@pytest.mark.slow
def test_somebody_whose_home_cannot_be_written(words, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    somebody = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*somebody, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not to be had")
    there = {**environment(), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*somebody, *command(*words)], env=there, capture_output=True, text=True, check=False, cwd=home
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
    assert {row["status"] for row in manifest(tmp_path / "out").values()} == {"done"}


def test_outputs_below_the_scans_are_no_scans(quick_model, tmp_path):
    thick_series(tmp_path / "in" / "series")
    write_nifti(phantom(small_grid(), noise=8.0)[0], tmp_path / "in" / "a.nii.gz")
    words = ["segment", tmp_path / "in", "--model", quick_model, "--out", tmp_path / "in" / "out", "--workers", 0,
             "--write", "nifti,seg.nrrd,mrb,confidence,fractions,finest,anomaly"]  # fmt: skip
    for _ in range(2):
        done = medseg(*words)
        assert done.returncode == 0, done.stderr
        assert len(manifest(tmp_path / "in" / "out")) == 2


class Asleep:
    """An order whose workers take half a second for each task."""

    def __init__(self, out):
        self.out = out

    def serve(self, pipe, dump):
        pipe.send(None)
        while True:
            task = pipe.recv()
            time.sleep(0.5)
            pipe.send(task)


def test_time_in_which_the_command_was_stopped_does_not_count(tmp_path, monkeypatch):
    """Ctrl-Z, lunch, fg."""
    from medseg.batch import pool as pools

    monkeypatch.setattr(pools, "ASLEEP_S", 1.5)
    clock, shift = time.monotonic, [0.0]
    monkeypatch.setattr("medseg.batch.pool.time.monotonic", lambda: clock() + shift[0])
    threading.Timer(0.1, lambda: shift.__setitem__(0, 3600.0)).start()
    pool: Pool[str, str] = Pool(Asleep(tmp_path), 1, Limits(seconds=60.0))
    with pool:
        assert [result for _, result in pool.results(["a", "b"])] == ["a", "b"]
    assert shift == [3600.0]


def test_the_second_signal_is_the_system_s_own():
    kinds = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(kind) for kind in kinds]
    seen = []

    def work():
        seen.append([signal.getsignal(kind) for kind in kinds])
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            seen.append([signal.getsignal(kind) for kind in kinds])

    with pytest.raises(KeyboardInterrupt), stoppable():
        work()
    assert signal.SIG_DFL not in seen[0]
    assert seen[1] == [signal.SIG_DFL] * 2
    assert [signal.getsignal(kind) for kind in kinds] == before
