"""A pool of worker processes that survives its workers: whatever kills one costs the task that it was working on.

A task is a scan, a series that came from a PACS, or something to ask of a PACS.

One pipe a worker, no shared queue and no lock that a dead process could hold. The parent waits on pipes and
processes together, so a death is noticed at once, and looks at time and memory a few times a second.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from medseg.batch.fork_server import worker_context
from medseg.batch.logs import frames_of_dump
from medseg.batch.resources import available_memory, resident_memory, total_memory
from medseg.batch.worker import DUMP_SIGNAL
from medseg.errors import ConfigError
from medseg.io.atomic import scratch_folder
from medseg.model.record import RECORDS
from medseg.runtime.limits import limits_text, memory_limits

LOOK_S = 0.25
ASLEEP_S = 30.0
"""Time between two looks from which this process was stopped (Ctrl-Z, a debugger), and its workers with it."""
START_S = 300.0
"""Longest time that a worker may take to import PyTorch and load the model."""
_MAX_FAILED_STARTS = 3
_KEPT_SHARE = 0.03
"""Share of the memory that is kept free; below it the largest worker goes before the kernel chooses."""
_GIGABYTE = 1 << 30
_KILLED = -getattr(signal, "SIGKILL", 9)
"""Exit code of a process that was killed from outside, where the system knows signals."""
Task = TypeVar("Task")
Result = TypeVar("Result")


class Order(Protocol):
    """What the processes of a pool do; it travels to them once."""

    @property
    def out(self) -> Path:
        """Folder below which their stacks are written while the pool is open."""

    def serve(self, pipe: Connection, dump: Path) -> None:
        """Send None when ready, then a result for each task that comes, until `pipe` closes."""


@dataclass(frozen=True)
class Limits:
    """What one task may take: seconds and bytes of memory, None for as much as there is."""

    seconds: float | None = None
    memory: int | None = None

    @classmethod
    def of(cls, seconds: float, gigabytes: float | None) -> Limits:
        """As the command line has them: 0 seconds for no limit, GiB or None for as much as there is."""
        return cls(seconds or None, None if gigabytes is None else int(gigabytes * _GIGABYTE))


@dataclass(frozen=True)
class Death:
    """How the worker on a task ended.

    Attributes:
        code: ``crashed``, ``timeout`` or ``out_of_memory``.
        innocent: other tasks may have used the memory up; alone it could succeed.
        details: its stack, as far as known.
    """

    code: str
    reason: str
    seconds: float
    innocent: bool = False
    details: tuple[str, ...] = ()


class Worker(Generic[Task, Result]):
    """One process, its pipe, and the task that it is working on."""

    def __init__(self, context: Any, order: Order, dump: Path) -> None:
        self.dump = dump
        self.task: Task | None = None
        self.is_ready = False
        self.since = time.monotonic()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=order.serve, args=(theirs, dump), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, task: Task) -> None:
        """Hand over a task; a worker that is already dead is found out in the next look."""
        self.task, self.since = task, time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def received(self) -> list[Result | None]:
        """Messages that came, at most one; raises EOFError when the process is gone."""
        try:
            return [self.pipe.recv()] if self.pipe.poll() else []
        except OSError:
            raise EOFError from None

    def where(self) -> tuple[str, ...]:
        """The stack that the process wrote last."""
        try:
            return tuple(frames_of_dump(self.dump.read_text(errors="replace")))
        except OSError:
            return ()

    def end(self, *, ask_where: bool = False) -> None:
        """Kill the process; with `ask_where`, it writes its stack first."""
        if ask_where and DUMP_SIGNAL is not None and self.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, DUMP_SIGNAL)
                time.sleep(0.2)
        self.process.kill()
        self.process.join(10)
        self.pipe.close()


class Pool(Generic[Task, Result]):
    """Workers that are replaced when they die; use it as a context."""

    def __init__(self, order: Order, n_workers: int, limits: Limits) -> None:
        self._context = worker_context()
        self._order, self._n_workers, self._limits = order, n_workers, limits
        self._workers: list[Worker[Task, Result]] = []
        self._n_started = 0
        self._failed_starts = 0
        self._looked = time.monotonic()

    def __enter__(self) -> Pool[Task, Result]:
        self._open = ExitStack()
        self._folder = self._open.enter_context(scratch_folder(self._order.out / RECORDS / "dumps"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()
        self._open.close()

    def results(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Result | Death]]:
        """Work on all tasks; each comes back once, as soon as it is through.

        Raises:
            ConfigError: workers die before they are ready for their first task.
        """
        waiting = deque(tasks)
        self._looked = time.monotonic()
        while waiting or any(worker.task is not None for worker in self._workers):
            self._hire(len(waiting))
            for worker in self._workers:
                if worker.is_ready and worker.task is None and waiting:
                    worker.give(waiting.popleft())
            wait([w.pipe for w in self._workers] + [w.process.sentinel for w in self._workers], LOOK_S)
            self._forgive_sleep()
            for worker in list(self._workers):
                result = self._look_at(worker)
                if result is not None and worker.task is not None:
                    task, worker.task = worker.task, None
                    yield task, result

    def _forgive_sleep(self) -> None:
        """Count no time against the workers in which nobody looked."""
        gap, self._looked = time.monotonic() - self._looked, time.monotonic()
        if gap > ASLEEP_S:
            for worker in self._workers:
                worker.since += gap

    def _hire(self, n_waiting: int) -> None:
        n_free = sum(worker.task is None for worker in self._workers)
        for _ in range(min(self._n_workers - len(self._workers), n_waiting - n_free)):
            self._n_started += 1
            dump = self._folder / f"{self._n_started}.txt"
            try:
                self._workers.append(Worker(self._context, self._order, dump))
            except (OSError, EOFError) as error:  # the server that makes processes has ended; the next try starts it
                self._count_failed_start(f"{type(error).__name__} while it was made")
                return

    def _look_at(self, worker: Worker[Task, Result]) -> Result | Death | None:
        """What has become of the worker's task; None while it is working or idle."""
        try:
            for message in worker.received():
                if message is None:
                    worker.is_ready, self._failed_starts = True, 0
                return message
        except EOFError:
            return self._bury(worker)
        return self._check_limits(worker)

    def _bury(self, worker: Worker[Task, Result]) -> Death | None:
        self._workers.remove(worker)
        worker.process.join(10)
        code = worker.process.exitcode
        worker.end()
        if not worker.is_ready:
            is_memory = code == _KILLED and not memory_limits()
            self._count_failed_start(_how(code) + (", most likely for lack of memory" if is_memory else ""))
        seconds = time.monotonic() - worker.since
        if code == _KILLED:
            return Death("out_of_memory", "the process was killed from outside, most likely for lack of memory; "
                         "use fewer workers or a larger machine and run again", seconds, innocent=True)  # fmt: skip
        return Death("crashed", f"the process ended by {_how(code)}, most likely in a decoder that does not stand "
                     f"this file{_or_memory()}; export it again", seconds, details=worker.where())  # fmt: skip

    def _check_limits(self, worker: Worker[Task, Result]) -> Death | None:
        seconds = time.monotonic() - worker.since
        if not worker.is_ready and seconds > START_S:
            self._dismiss(worker)
            self._count_failed_start(f"taking more than {START_S:.0f} s")
        if worker.task is None:
            return None
        if self._limits.seconds is not None and seconds > self._limits.seconds:
            self._dismiss(worker, ask_where=True)
            return Death("timeout", f"no result after {seconds:.0f} s; look at the scan, or give more time with "
                         "--timeout", seconds, details=worker.where())  # fmt: skip
        return self._check_memory(worker, seconds)

    def _check_memory(self, worker: Worker[Task, Result], seconds: float) -> Death | None:
        used = resident_memory(worker.process.pid)
        if self._limits.memory is not None and used > self._limits.memory:
            self._dismiss(worker, ask_where=True)
            return Death("out_of_memory", f"took {used / _GIGABYTE:.1f} GB, more than --max-memory allows",
                         seconds, details=worker.where())  # fmt: skip
        left = available_memory()
        if left is None or left > _KEPT_SHARE * total_memory():
            return None
        if used < max(resident_memory(other.process.pid) for other in self._workers):
            return None
        self._dismiss(worker, ask_where=True)
        return Death("out_of_memory", f"took {used / _GIGABYTE:.1f} GB when the memory ran out; use fewer workers or a "
                     "larger machine and run again", seconds, innocent=True, details=worker.where())  # fmt: skip

    def _dismiss(self, worker: Worker[Task, Result], *, ask_where: bool = False) -> None:
        self._workers.remove(worker)
        worker.end(ask_where=ask_where)

    def _count_failed_start(self, how: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise ConfigError(f"worker processes cannot start (the last ended by {how}{_or_memory()}); try --workers "
                              "1, or --workers 0 to see the error")  # fmt: skip


def _or_memory() -> str:
    """What else may have ended a process where a shell has set limits."""
    return f", or for lack of memory ({limits_text()})" if memory_limits() else ""


def _how(code: int | None) -> str:
    """Name of a signal, or the exit code."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
