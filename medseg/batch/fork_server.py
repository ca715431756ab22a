"""The server that worker processes are forked from: it imports PyTorch once, workers follow in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
_PRELOADED = ["medseg.batch.worker"]


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

    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    resource_tracker.ensure_running()  # first, for it lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with same_path():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
