"""Worker processes that cannot be made, and what is said of those that died under a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.batch import pool
from medseg.batch.outputs import Job
from medseg.batch.pool import Death, Limits, Pool
from medseg.batch.worker import Order
from medseg.errors import ConfigError
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry

SCAN = Scan("a", (Path("a.nii"),), "nifti", geometry=Geometry((8, 8, 8), np.eye(4)))


class NoProcess:
    """Processes of a server that has ended."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def Pipe(self) -> object:
        raise self.error


@pytest.mark.parametrize("error", [EOFError(), ConnectionRefusedError(), BrokenPipeError()])
def test_processes_that_cannot_be_made(monkeypatch, tmp_path, error):
    monkeypatch.setattr(pool, "worker_context", lambda: NoProcess(error))
    monkeypatch.setattr(pool, "memory_limits", lambda: {"ulimit -v": 2_000_000_000})
    monkeypatch.setattr(pool, "limits_text", lambda: "ulimit -v allows 2.0 GB")
    words = (
        rf"cannot start \(the last ended by {type(error).__name__} while it was made, or for lack of memory \(ulimit"
    )
    processes_of: Pool[Any, Any] = Pool(Order(tmp_path, Job(tmp_path)), 1, Limits())
    with pytest.raises(ConfigError, match=words), processes_of as processes:
        list(processes.results([SCAN]))


class DeadProcess:
    """A process that ends by itself in the middle of a scan."""

    pid, exitcode, sentinel = 0, -11, 0

    def start(self) -> None: ...

    def join(self, _seconds: float) -> None: ...

    def kill(self) -> None: ...


class DeadPipe:
    """Says once that the worker is ready, then that nobody is there."""

    def __init__(self) -> None:
        self.is_told = False

    def poll(self) -> bool:
        return True

    def recv(self) -> None:
        if self.is_told:
            raise EOFError
        self.is_told = True

    def send(self, _scan: Scan) -> None: ...

    def close(self) -> None: ...


class Dying:
    """Makes processes that die."""

    def Pipe(self) -> tuple[DeadPipe, DeadPipe]:
        return DeadPipe(), DeadPipe()

    def Process(self, **_: object) -> DeadProcess:
        return DeadProcess()


@pytest.mark.parametrize(("limits", "words"), [
    ({}, "does not stand this file; export it again"),
    ({"ulimit -v": 1}, "does not stand this file, or for lack of memory (ulimit -v allows 2.0 GB); export it again"),
])  # fmt: skip
def test_a_crash_under_a_limit_may_be_for_lack_of_memory(monkeypatch, tmp_path, limits, words):
    monkeypatch.setattr(pool, "worker_context", Dying)
    monkeypatch.setattr(pool, "wait", lambda _ready, _seconds: None)
    monkeypatch.setattr(pool, "memory_limits", lambda: limits)
    monkeypatch.setattr(pool, "limits_text", lambda: "ulimit -v allows 2.0 GB")
    processes_of: Pool[Any, Any] = Pool(Order(tmp_path, Job(tmp_path)), 1, Limits())
    with processes_of as processes:
        ((scan, death),) = list(processes.results([SCAN]))
    assert scan is SCAN
    assert isinstance(death, Death)
    assert death.code == "crashed"
    assert death.reason.endswith(words)
    assert "ended by SIGSEGV" in death.reason
