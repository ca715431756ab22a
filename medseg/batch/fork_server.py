"""The server that worker processes are forked from: it imports PyTorch once, workers follow in milliseconds."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.errors import ConfigError

HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
LONGEST_FOLDER = 70
"""Bytes of the path of a temporary folder, below which names of up to 36 bytes are made for sockets."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/run/shm", "/dev/shm")
_PRELOADED = ["medseg.batch.preload"]


def worker_context() -> Any:
    """How worker processes start here: from the server, or each by itself where a system knows no fork."""
    start_fork_server()
    return multiprocessing.get_context("forkserver" if HAS_FORK_SERVER else "spawn")


def start_fork_server() -> None:
    """Start the server unless it runs: it imports PyTorch while this process does so itself, instead of after it.

    The server inherits the environment of this moment. Ctrl-C is kept from it: it ends with this process.
    """
    if not HAS_FORK_SERVER:
        return
    from multiprocessing import forkserver, resource_tracker

    _make_socket_folder()
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    resource_tracker.ensure_running()  # first, for it lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with same_path():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def use_temporary_folder(folder: Path) -> None:
    """Let temporary files of this process and of those that it starts lie in a folder, which is made.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--work-dir {folder}: cannot be made ({error.strerror}); give another folder") from None
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder.resolve())


def _make_socket_folder() -> None:
    """Make the folder of this process's sockets, elsewhere than in a temporary folder whose path is too long for one.

    `multiprocessing` asks for the folder once and keeps it; a socket's path has 107 bytes on Linux (unix(7)).

    Raises:
        ConfigError: there is no folder with a short path to write into.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return
    short = [folder for folder in SHORT_FOLDERS if Path(folder).is_dir() and os.access(folder, os.W_OK)]
    if not short:
        raise ConfigError(
            f"TMPDIR: found a path of {len(os.fsencode(usual))} bytes, expected at most {LONGEST_FOLDER} for the "
            "sockets of worker processes; set a shorter TMPDIR"
        )
    tempfile.tempdir = short[0]
    try:
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = usual


@contextmanager
def same_path() -> Iterator[None]:
    """Processes of Python that start inside import from where this one does, in the same order.

    The server is started as ``python -c``, which looks into the working directory first: in a clone of medseg it
    would import the clone instead of the medseg that is installed. It preloads before it is told its parent's path.
    """
    changes = {"PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
