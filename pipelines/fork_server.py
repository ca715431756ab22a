"""The server that worker processes are forked from: it imports PyTorch once, workers follow in milliseconds."""

from __future__ import annotations

import multiprocessing
import signal
from typing import Any

HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
_PRELOADED = ["medseg.pipelines.work"]


def worker_context() -> Any:
    """How worker processes start here: from the server, or each by itself where a system knows no fork."""
    context = multiprocessing.get_context("forkserver" if HAS_FORK_SERVER else "spawn")
    if HAS_FORK_SERVER:
        context.set_forkserver_preload(_PRELOADED)
    return context


def start_fork_server() -> None:
    """Let the server import PyTorch while this process does so itself, instead of after it.

    The server inherits the environment of this moment. Ctrl-C is kept from it: it ends with this process.
    """
    if not HAS_FORK_SERVER:
        return
    from multiprocessing import forkserver, resource_tracker

    worker_context()
    resource_tracker.ensure_running()  # first, for it lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
