"""The server of the worker processes starts early, only where workers will be wanted, and is quiet about Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from medseg.batch import fork_server
from medseg.batch.fork_server import HAS_FORK_SERVER
from medseg.cli import main as command_line
from medseg.errors import ConfigError

PROC = Path("/proc")
SEGMENT = ("segment", "missing", "--model", "missing", "--out")
SERVER = """
import signal, sys
from medseg.batch.fork_server import start_fork_server
start_fork_server()
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "Ctrl-C is kept from the caller"
assert not {"torch", "monai", "medseg.batch.worker"} & set(sys.modules)
from multiprocessing import forkserver
print(forkserver._forkserver._forkserver_pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("words", "is_started"),
    [
        ((*SEGMENT, "OUT"), True),
        (("run", "missing", "--out", "OUT"), True),
        ((*SEGMENT, "OUT", "--workers", "2"), True),
        ((*SEGMENT, "OUT", "--workers", "0"), False),
        ((*SEGMENT, "OUT", "--scheduler", "tcp://127.0.0.1:9"), False),
        (("inspect", "missing"), False),
    ],
)
def test_it_starts_where_workers_will_be_wanted(words, is_started, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(command_line, "start_fork_server", lambda: started.append(True))
    monkeypatch.chdir(tmp_path)
    assert command_line.main([word.replace("OUT", str(tmp_path / "out")) for word in words]) == 2
    assert bool(started) is is_started


@pytest.mark.skipif(not (HAS_FORK_SERVER and PROC.exists()), reason="needs a fork server and /proc")
def test_ctrl_c_while_it_imports_says_nothing_and_it_ends_with_its_caller():
    caller = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert caller.stdout is not None
    server = PROC / caller.stdout.readline().strip()
    deadline = time.monotonic() + 60
    while "libtorch" not in (server / "maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(int(server.name), signal.SIGINT)
    time.sleep(0.3)
    assert (server / "stat").read_text().split()[2] in "RSD"
    _, errors = caller.communicate(timeout=120)  # the server holds these pipes until it ends
    assert (caller.returncode, errors) == (0, "")


LONG_TMPDIR = """
import os, sys
from medseg.batch.fork_server import worker_context
context = worker_context()
process = context.Process(target=print, args=("hello from the worker",))
process.start()
process.join()
sys.exit(process.exitcode)
"""


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")
def test_a_temporary_folder_with_a_long_path_is_no_obstacle(tmp_path):
    folder = tmp_path / ("long" * 25) / ("er" * 30)
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", LONG_TMPDIR], env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hello from the worker" in done.stdout


def test_without_any_short_folder_a_shorter_one_is_asked_for(monkeypatch, tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(fork_server, "SHORT_FOLDERS", ())
    with pytest.raises(ConfigError, match=r"TMPDIR: found a path of \d+ bytes, expected at most 70"):
        fork_server.start_fork_server()
