"""Slow proof that batches survive; `pytest -m slow tests/test_survival.py`."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.cohorts import KINDS, command, environment, leftovers, manifest, medseg, write_cohort, write_poison
from tests.support.paths import ROOT, SHARED

pytestmark = pytest.mark.slow
N_SCANS = int(os.environ.get("MEDSEG_TEST_SCANS", "285"))
N_ROUNDS = int(os.environ.get("MEDSEG_TEST_ROUNDS", "50"))


def digests(out: Path) -> dict[str, str]:
    """Every output but the tables that hold times."""
    files = [p for p in out.rglob("*") if p.name.endswith((".nii.gz", ".seg.nrrd", ".png", ".safetensors"))]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def children_of(pid: int) -> list[int]:
    """All descendants of a process (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(stat.parent.name)
            found += [child, *children_of(child)]
    return found


def test_fifteen_poisoned_scans_of_three_hundred(quick_model, tmp_path):
    write_cohort(tmp_path / "in", N_SCANS)
    started = time.monotonic()
    words = ["--model", quick_model, "--timeout", 20, "--max-memory", 1.5]
    assert medseg("segment", tmp_path / "in", "--out", tmp_path / "a", *words, timeout=3600).returncode == 0
    alone = time.monotonic() - started
    bad = write_poison(tmp_path / "in", [*KINDS[:7], *KINDS])
    started = time.monotonic()
    done = medseg("segment", tmp_path / "in", "--out", tmp_path / "b", *words, poison=True, timeout=3600)
    seconds = time.monotonic() - started
    rows = manifest(tmp_path / "b")
    print(f"{N_SCANS} alone {alone:.0f} s, with 15 poisoned {seconds:.0f} s, ratio {seconds / alone:.2f}")
    assert done.returncode == 1
    assert {name for name, row in rows.items() if row["status"] != "done"} == set(bad)
    assert all(rows[name]["reason"] for name in bad)
    assert len(rows) == N_SCANS + 15
    assert digests(tmp_path / "a").items() <= digests(tmp_path / "b").items()
    assert seconds < 1.5 * alone or N_SCANS < 285


def test_kill_9_at_any_moment(cohort, quick_model, tmp_path):
    """Each round kills the parent or a worker at a random moment; the same command finishes the rest."""
    words = ["segment", cohort, "--model", quick_model, "--workers", 2]
    assert medseg(*words, "--out", tmp_path / "whole").returncode == 0
    whole, chance = digests(tmp_path / "whole"), random.Random(0)
    n_kept = 0
    for number in range(N_ROUNDS):
        out = tmp_path / f"out{number}"
        run = subprocess.Popen(command(*words, "--out", out), env=environment(), stderr=subprocess.DEVNULL)
        n_before = chance.randrange(len(list(cohort.iterdir())))
        while run.poll() is None and len(list((out / ".medseg").glob("*.json"))) < n_before:
            time.sleep(0.02)
        time.sleep(chance.random() * 2)
        victims = [run.pid, *(children_of(run.pid) if number % 2 else [])]
        if run.poll() is None:
            os.kill(chance.choice(victims), signal.SIGKILL)
        run.wait(timeout=300)
        kept = {p: p.stat().st_mtime_ns for p in (out / ".medseg").glob("*.json") if '"done"' in p.read_text()}
        time.sleep(0.2)
        again = medseg(*words, "--out", out)
        assert again.returncode == 0, again.stderr
        assert digests(out) == whole, f"round {number}"
        assert leftovers(out) == []
        assert all(p.stat().st_mtime_ns == before for p, before in kept.items()), "a done scan was done twice"
        n_kept += len(kept)
        shutil.rmtree(out)
    print(f"{N_ROUNDS} rounds, {n_kept} scans were done when a process was killed and were not done again")


def test_training_goes_on_after_kill_9(cohort, tmp_path):
    words = ["train", cohort, "--config", "smoke", "--device", "cpu", "--set", "training.max_steps=160",
             "--set", "training.patience=50", "--set", "clustering.method=cohort"]  # fmt: skip
    words += ["--set", "clustering.bias_sigma_mm=null"]
    assert medseg(*words, "--model", tmp_path / "a" / "model").returncode == 0
    chance = random.Random(1)
    for _ in range(max(2, N_ROUNDS // 10)):
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        run = subprocess.Popen(
            command(*words, "--model", tmp_path / "b" / "model"), env=environment(), stderr=subprocess.DEVNULL
        )
        while run.poll() is None and not list((tmp_path / "b").glob(".model.training/*/state.json")):
            time.sleep(0.05)
        time.sleep(chance.random() * 4)
        run.kill()
        run.wait()
        assert medseg(*words, "--model", tmp_path / "b" / "model").returncode == 0
        assert digests(tmp_path / "b") == digests(tmp_path / "a")
        assert [p.name for p in (tmp_path / "b").iterdir()] == ["model"]


def test_torchrun_restarts_to_the_same_weights(cohort, tmp_path):
    words = ["-m", "medseg", "train", cohort, "--config", "smoke", "--device", "cpu", "--set", "training.max_steps=120",
             "--set", "clustering.method=cohort", "--set", "clustering.bias_sigma_mm=null"]  # fmt: skip
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
                "--nproc-per-node", "2", "--max-restarts", "2"]  # fmt: skip
    runs = {}
    for name in ("a", "b"):
        words_to = [*torchrun, *map(str, words), "--model", str(tmp_path / name / "model")]
        log = (tmp_path / f"{name}.log").open("w")
        runs[name] = subprocess.Popen(words_to, env=environment(), stderr=log)
        if name == "b":
            while runs["b"].poll() is None and not list((tmp_path / "b").glob(".model.training/*/state.json")):
                time.sleep(0.05)
            ranks = [pid for pid in children_of(runs["b"].pid) if b"train" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(ranks[-1], signal.SIGKILL)
        assert runs[name].wait(timeout=600) == 0, (tmp_path / f"{name}.log").read_text()
    assert digests(tmp_path / "b") == digests(tmp_path / "a")


def test_one_worker_or_four_the_same_bytes(cohort, quick_model, tmp_path):
    words = ["segment", cohort, "--model", quick_model, "--deterministic"]
    found = []
    for name, workers in (("one", 1), ("four", 4), ("again", 4)):
        assert medseg(*words, "--out", tmp_path / name, "--workers", workers).returncode == 0
        found.append(digests(tmp_path / name))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 15


def test_dask_goes_on_when_a_worker_is_killed(cohort, quick_model, tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        words = ["segment", cohort, "--model", quick_model, "--out", out, "--scheduler", cluster.scheduler_address]
        run = subprocess.Popen(command(*words), env=environment(), stderr=subprocess.PIPE, text=True)
        while run.poll() is None and not list((out / ".medseg").glob("*.json")):
            time.sleep(0.05)
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        _, error = run.communicate(timeout=600)
    assert run.returncode == 0, error
    assert {row["status"] for row in manifest(out).values()} == {"done"}
    assert leftovers(out) == []


SLURM = SHARED / "tools" / "slurm.sh"


def slurm(script: str, folder: Path, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a bash script inside a one-node Slurm; skipped where that cannot be."""
    if not SLURM.is_file() or shutil.which("slurmctld") is None or os.geteuid() != 0:
        pytest.skip("needs Slurm's programs, root and the script that starts a one-node Slurm")
    (folder / "job.sh").write_text(script)
    inside = ["unshare", "-n", "--uts", "--pid", "--fork", "--mount-proc", "bash", str(SLURM)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*inside, "bash", str(folder / "job.sh")], env={**environment(), "PATH": path}, cwd=folder,
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def test_slurm_array_with_a_cancelled_job(cohort, quick_model, tmp_path):
    array = ROOT / "pipelines" / "slurm" / "array.sh"
    submit = f"sbatch --parsable --array=1-2 --cpus-per-task=1 --mem=2G {array} {cohort} {quick_model} {tmp_path}/out"
    script = f"""
        export MEDSEG="{sys.executable} -m medseg"
        id=$({submit} --workers 1)
        while ! ls out/.medseg/*.json >/dev/null 2>&1; do sleep 0.2; done
        scancel ${{id}}_1
        while squeue -h | grep -q .; do sleep 0.5; done
        echo first $(ls out/.medseg/*.json | wc -l)
        {submit.replace("sbatch", "sbatch --wait")} --workers 1
        echo second $?
    """
    done = slurm(script, tmp_path)
    print(done.stdout[-600:])
    assert "second 0" in done.stdout, done.stdout + done.stderr
    assert {row["status"] for row in manifest(tmp_path / "out").values()} == {"done"}
    assert len(manifest(tmp_path / "out")) == 5
    assert leftovers(tmp_path / "out") == []


def test_dask_jobqueue_with_a_cancelled_job(cohort, quick_model, tmp_path):
    pytest.importorskip("dask_jobqueue")
    example = ROOT / "pipelines" / "slurm" / "dask_cluster.py"
    script = f"""
        {sys.executable} {example} --jobs 2 --cores 1 --memory 2GB --walltime 00:10:00 --interface lo \\
            segment {cohort} --model {quick_model} --out {tmp_path}/out &
        while ! ls out/.medseg/*.json >/dev/null 2>&1; do sleep 0.2; done
        squeue -h -o %i | head -1 | xargs scancel
        wait $!
        echo ended $?
    """
    done = slurm(script, tmp_path)
    print(done.stdout[-600:])
    assert "ended 0" in done.stdout, done.stdout + done.stderr
    assert {row["status"] for row in manifest(tmp_path / "out").values()} == {"done"}
