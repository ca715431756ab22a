"""A PACS that is asked by a process of its own, the courier: it alone holds the connection and the credentials.

Whatever a server sends can cost that process only. It is the pool that works on scans, with one worker whose tasks
are errands; one that takes too long or too much memory is killed, and the next errand gets a new process.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medseg.batch.logs import raised_in
from medseg.batch.pool import Death, Limits, Pool
from medseg.batch.worker import listen, settle_in
from medseg.io.pacs.base import Found, Pacs, PacsError, Query, Series, StorageRefusedError
from medseg.io.pacs.connect import Address, connect

_LOG = logging.getLogger(__name__)
GRACE_S = 30.0
"""How much longer than its own limit an errand may take before the process is killed."""
COURIER_BYTES = 6 << 30
"""Most memory of the process: one DICOM object at a time, and what the libraries make of it."""


@dataclass(frozen=True)
class Errand:
    """One call of a method of `Pacs`."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Reply:
    """What came of it: a value, or a sentence and whether the server refuses this kind of object."""

    value: Any = None
    error: str = ""
    is_refused: bool = False


@dataclass(frozen=True)
class CourierOrder:
    """What the courier is told once.

    Attributes:
        out: folder below which its stack is written when it crashes.
    """

    address: Address
    out: Path

    def serve(self, pipe: Connection, dump: Path) -> None:
        """Run the errands that come through `pipe` until it closes."""
        errands = listen(pipe)
        settle_in(dump)
        pacs = connect(self.address)
        with suppress(BrokenPipeError, ConnectionResetError):
            pipe.send(None)
            while True:
                pipe.send(run_errand(pacs, errands.get()))


def run_errand(pacs: Pacs, errand: Errand) -> Reply:
    """The reply to one errand; every exception becomes one, without a message of other libraries."""
    try:
        return Reply(getattr(pacs, errand.method)(*errand.arguments))
    except StorageRefusedError as error:
        return Reply(error=str(error), is_refused=True)
    except PacsError as error:
        return Reply(error=str(error))
    except OSError as error:
        return Reply(error=f"{error.strerror or type(error).__name__}; free space or memory and run again")
    except MemoryError:
        return Reply(error="what the PACS sent does not fit into memory; look at the PACS")
    except Exception as error:  # whatever a server brings about costs its own series
        return Reply(error=f"{raised_in(error)}; please report it")


class Courier:
    """A PACS as the rest of the program sees it; use it as a context."""

    def __init__(self, address: Address, out: Path) -> None:
        """Prepare; the process starts with the first errand.

        Raises:
            ConfigError: the address, a title or a certificate cannot be used.
        """
        connect(address)
        self._label, self._seconds = address.label, address.bounds.seconds
        limits = Limits(self._seconds + GRACE_S, COURIER_BYTES)
        self._pool: Pool[Errand, Reply] = Pool(CourierOrder(address, out.resolve()), 1, limits)

    def __enter__(self) -> Courier:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.__exit__(*error)

    def find(self, query: Query) -> Found:
        """Series that match."""
        found: Found = self._run("find", query)
        return found

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""
        return bool(self._run("has", study_uid, series_uid))

    def fetch(self, series: Series, folder: Path) -> int:
        """Write every file of a series into an empty folder; returns how many the server says that it has."""
        return int(self._run("fetch", series, folder.resolve()))

    def store(self, path: Path) -> None:
        """Store one DICOM file."""
        self._run("store", path.resolve())

    def _run(self, method: str, *arguments: Any) -> Any:
        ((_, reply),) = list(self._pool.results([Errand(method, arguments)]))
        if isinstance(reply, Death):
            _LOG.debug("courier: %s: %s", method, reply.code)
            raise PacsError(self._explained(reply))
        if reply.error:
            raise (StorageRefusedError if reply.is_refused else PacsError)(reply.error)
        return reply.value

    def _explained(self, death: Death) -> str:
        if death.code == "timeout":
            return f"{self._label} took more than {self._seconds:.0f} s; try again, or give more time with --timeout"
        if death.code == "out_of_memory":
            return f"what {self._label} sent took too much memory, or the memory ran out; look at the PACS"
        return f"what {self._label} sent ended the process that talks to it; look at the PACS"
