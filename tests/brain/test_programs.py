"""Programs for brain extraction: called as they want it, believed only after a look, ended when they take too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg import read_scan
from medseg.brain import guard
from medseg.brain.make import make_brain_mask
from medseg.brain.programs import program_mask
from medseg.errors import InputError
from medseg.spatial.geometry import Geometry
from sample_data.heads import head, head_grid
from tests.support.fake_tools import (
    CRASHES,
    FAILS,
    HANGS,
    HD_BET_1,
    HD_BET_2,
    KNOWS_NO_ARGUMENTS,
    LEAVES_NOTHING,
    SYNTHSTRIP,
    FakeTool,
)

CPU = torch.device("cpu")
GRID = head_grid(4.0)
HEAD, BRAIN = head(GRID)


def inside(mask):
    return mask.as_tensor()[0].numpy() > 0


@pytest.mark.parametrize(
    ("name", "code", "n_calls"),
    [("mri_synthstrip", SYNTHSTRIP, 1), ("hd-bet", HD_BET_2, 1), ("hd-bet", HD_BET_1, 2)],
    ids=["SynthStrip", "HD-BET 2", "HD-BET 1"],
)
def test_a_program_is_called_and_its_mask_is_read(tmp_path, monkeypatch, name, code, n_calls):
    tool = FakeTool(tmp_path / "bin", name, code, monkeypatch, (BRAIN.astype(np.int16) * 255, GRID))
    mask = make_brain_mask(HEAD, name, CPU, tmp_path / "work/x")
    assert np.array_equal(inside(mask), BRAIN)
    assert Geometry.of(mask).is_close(GRID)
    assert len(tool.calls) == n_calls
    assert not any("/" in call for call in tool.calls), "no path, no name of a scan"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_program_is_given_the_voxels_of_the_scan(tmp_path, monkeypatch):
    code = KNOWS_NO_ARGUMENTS.replace("exit 2", f"cp scan.nii.gz {tmp_path}")
    FakeTool(tmp_path / "bin", "mri_synthstrip", code, monkeypatch)
    with pytest.raises(InputError, match="left no mask"):
        make_brain_mask(HEAD, "mri_synthstrip", CPU, tmp_path / "work/x")
    given = read_scan(tmp_path / "scan.nii.gz")
    assert torch.equal(given.as_tensor(), HEAD.as_tensor())
    assert Geometry.of(given).is_close(GRID)


ONE = BRAIN.astype(np.uint8)
PROBLEMS = {
    "it fails": (FAILS, None, "brain_mask_failed", "mri_synthstrip ended with exit code 7, expected 0"),
    "it crashes": (CRASHES, None, "brain_mask_failed", "ended with exit code 139"),
    "it leaves nothing": (LEAVES_NOTHING, None, "brain_mask_failed", "left no mask, expected mask.nii.gz"),
    "it knows no arguments": (KNOWS_NO_ARGUMENTS, None, "brain_mask_failed", "ended with exit code 2"),
    "another grid": (SYNTHSTRIP, ONE[1:], "brain_mask_failed", "mri_synthstrip: mask mask.nii.gz: found Geometry"),
    "an image": (SYNTHSTRIP, HEAD.as_tensor()[0].numpy(), "brain_mask_failed", "more values than two"),
    "an empty mask": (SYNTHSTRIP, ONE * 0, "brain_mask_failed", "no voxel is inside"),
    "a tiny mask": (SYNTHSTRIP, ONE * (np.arange(ONE.shape[2]) > 30), "implausible_brain_mask", "is 0.05 l large"),
    "a huge mask": (SYNTHSTRIP, ONE * 0 + 1, "implausible_brain_mask", "is 5... l large, expected 0.25 to 2.5 l"),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_what_a_program_does_wrong_is_one_sentence(tmp_path, monkeypatch, kind):
    program, mask, code, words = PROBLEMS[kind]
    given = None if mask is None else (mask, GRID)
    FakeTool(tmp_path / "bin", "mri_synthstrip", program, monkeypatch, given)
    with pytest.raises(InputError, match=words) as caught:
        make_brain_mask(HEAD, "mri_synthstrip", CPU, tmp_path / "work/x")
    assert caught.value.code == code
    assert "/" not in str(caught.value)
    assert "Jane" not in str(caught.value)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_program_that_hangs_is_ended(tmp_path, monkeypatch):
    FakeTool(tmp_path / "bin", "hd-bet", HANGS, monkeypatch)
    with pytest.raises(InputError, match=r"hd-bet gave no mask within 2 s, expected one") as caught:
        program_mask("hd-bet", HEAD, CPU, tmp_path / "work/x", seconds=2.0)
    assert caught.value.code == "brain_mask_failed"


def test_a_program_that_was_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="hd-bet is no longer on PATH"):
        program_mask("hd-bet", HEAD, CPU, tmp_path / "work/x")


PARENT_AND_CHILD = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_until(is_true) -> None:
    end = time.monotonic() + 60
    while not is_true() and time.monotonic() < end:
        time.sleep(0.05)
    assert is_true(), "waited for a minute"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells living processes by /proc")
@pytest.mark.parametrize("how", ["the caller dies", "its time is over"])
def test_all_that_a_program_started_ends_with_it(tmp_path, how):
    """A worker that is killed can end nothing any more; the guard notices."""
    seconds = "3" if how == "its time is over" else "600"
    words = [sys.executable, "-I", str(Path(guard.__file__)), seconds, sys.executable, "-c", PARENT_AND_CHILD,
             str(tmp_path / "pids")]  # fmt: skip
    holder = f"import subprocess, time\nsubprocess.Popen({words!r}, stdin=subprocess.PIPE)\ntime.sleep(600)"
    caller = subprocess.Popen([sys.executable, "-c", holder])
    try:
        wait_until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().count(" ") == 1)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        if how == "the caller dies":
            assert all(map(is_alive, pids))
            os.kill(caller.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)))
    finally:
        caller.kill()
        caller.wait()


def test_no_masks_of_ct():
    image = HEAD.clone() * 8 - 1000
    with pytest.raises(InputError, match="the scan is CT, expected MR for the brain mask of hd-bet") as caught:
        make_brain_mask(image, "hd-bet", CPU)
    assert caught.value.code == "other_modality"
