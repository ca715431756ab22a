"""The inside of a worker process: one model, loaded once, one scan or series after the other.

A worker ends itself as soon as the process that feeds it is gone, whatever it is doing then.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from medseg.batch.outputs import Job
from medseg.batch.segment_scan import segment_or_explain
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.record import Record
from medseg.runtime.device import repeatable
from medseg.runtime.memory import freed_memory_kept

DUMP_SIGNAL = getattr(signal, "SIGUSR1", None)
"""Asks a worker to write down where it is; Windows has no such signal."""


@dataclass(frozen=True)
class Order:
    """What every worker of a run does.

    Attributes:
        model: model folder.
        n_threads: threads of a worker.
        deterministic: same bytes whatever the number of workers.
        work: what is done with each task.
    """

    model: Path
    job: Job
    device: str = "auto"
    n_threads: int = 1
    deterministic: bool = False
    work: Callable[[Model, Any, Job], Any] = segment_or_explain

    @property
    def out(self) -> Path:
        """Where results go."""
        return self.job.out

    def serve(self, pipe: Connection, dump: Path) -> None:
        """Segment what comes through `pipe` until it closes; send each result back.

        Args:
            dump: file for the stack of a crash, or of a scan that takes too long.
        """
        tasks = listen(pipe)
        settle_in(dump)
        _divide_threads(self)
        model = Model.load(self.model, device=self.device)
        with suppress(BrokenPipeError, ConnectionResetError), freed_memory_kept():
            pipe.send(None)
            while True:
                pipe.send(self.work(model, tasks.get(), self.job))


def listen(pipe: Connection) -> SimpleQueue[Any]:
    """Tasks as they come through `pipe`."""
    tasks: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, tasks), daemon=True).start()
    return tasks


def _listen(pipe: Connection, tasks: SimpleQueue[Any]) -> None:
    """Hand on tasks; the end of the pipe is the end of the process, even in the middle of a scan."""
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(0)


def settle_in(dump: Path) -> None:
    """Make this process one that may die: silent, first to go when memory runs out, its stack written to `dump`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that feeds
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError):  # if memory runs out, the kernel should end a worker, which costs one scan
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError):  # on a full disk a crash goes without its place
        stream = dump.open("w")
        faulthandler.enable(stream)
        if DUMP_SIGNAL is not None:
            faulthandler.register(DUMP_SIGNAL, stream)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # decoders print paths and identifiers
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")


def _divide_threads(order: Order) -> None:
    torch.set_num_threads(order.n_threads)
    threadpool_limits(order.n_threads)  # those of NumPy's linear algebra
    repeatable(order.deterministic)


def inline(model: Model, order: Order) -> Callable[[Scan], Record]:
    """The same work in this process: nothing is isolated."""
    if order.deterministic:
        _divide_threads(order)
    return lambda scan: segment_or_explain(model, scan, order.job)
