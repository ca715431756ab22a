"""Many machines: scans handed to the workers of a Dask scheduler, results as they come.

Dask only distributes. On each of its workers a scan is worked on in a process of medseg's own, as on one machine, so
a scan that crashes, hangs or eats memory is explained there and costs no Dask worker; Dask retries what was running
when a worker or its machine died.
"""

from __future__ import annotations

import multiprocessing
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.batch.pool import Death, Limits, Pool
from medseg.batch.progress import say
from medseg.batch.worker import Order
from medseg.errors import ConfigError
from medseg.io.scan import Scan
from medseg.model.record import Record

CONNECT_S = 30
RETRIES = 3
"""How often a scan is tried again after the worker that had it was lost."""


def results_of_cluster(
    scans: Sequence[Scan], order: Order, address: str, limits: Limits
) -> Iterator[tuple[Scan, Record | Death]]:
    """Every scan once, as soon as it is through; the folders must have the same paths on all machines.

    Args:
        address: ``tcp://host:port``, or the path of a scheduler file.

    Raises:
        ConfigError: Dask is not installed, the scheduler does not answer, or it is lost.
    """
    if not scans:
        return
    distributed = _distributed()
    absolute = {f"medseg-{uuid.uuid4().hex}": scan for scan in scans}
    with _client(distributed, address) as client:
        say(f"scheduler {address}: {len(client.scheduler_info(n_workers=-1)['workers'])} workers")
        futures = [
            client.submit(segment_there, _anywhere(scan), order, limits, key=key, retries=RETRIES, pure=False)
            for key, scan in absolute.items()
        ]
        for future in distributed.as_completed(futures, loop=client.loop):
            yield absolute[future.key], _outcome(distributed, future)
            future.release()
        with suppress(Exception):  # tidy up; workers that were lost have nothing left to tidy
            client.run(close_pools)


def _distributed() -> Any:
    try:
        from dask import distributed
    except ImportError:
        raise ConfigError('--scheduler: Dask is not installed; pip install "medseg[dask]"') from None
    return distributed


def _client(distributed: Any, address: str) -> Any:
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        return distributed.Client(**where, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError):
        raise ConfigError(f"--scheduler {address}: no Dask scheduler answers there within {CONNECT_S} s; "
                          "start one, or check the address") from None  # fmt: skip


def _outcome(distributed: Any, future: Any) -> Record | Death:
    error = future.exception() if future.status in ("error", "lost", "cancelled") else None
    if error is None:
        result: Record | Death = future.result()
        return result
    if isinstance(error, distributed.scheduler.KilledWorker):
        return Death("worker_lost", "every Dask worker that had this scan was lost; look at the workers' logs", 0.0)
    if isinstance(error, (distributed.CancelledError, OSError)):
        raise ConfigError("--scheduler: the scheduler was lost; the same command goes on from here") from None
    return Death("error", f"{type(error).__name__} on a Dask worker; look at its log", 0.0)


def _anywhere(scan: Scan) -> Scan:
    """The scan with absolute paths."""
    others = tuple(_anywhere(other) for other in scan.more_channels)
    return replace(scan, paths=tuple(path.resolve() for path in scan.paths), more_channels=others)


class _Here:
    """The pool of this Dask worker: one process, kept from scan to scan."""

    def __init__(self) -> None:
        self.key: tuple[Order, Limits] | None = None
        self.open = ExitStack()
        self.pool: Pool[Scan, Record] | None = None

    def pool_for(self, order: Order, limits: Limits) -> Pool[Scan, Record]:
        if self.pool is None or self.key != (order, limits):
            self.open.close()
            # Dask's workers are daemons, which multiprocessing forbids to have children; these end with their pipe.
            multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
            self.pool, self.key = self.open.enter_context(Pool(order, 1, limits)), (order, limits)
        return self.pool


_HERE: dict[int, _Here] = {}


def close_pools() -> None:
    """End the processes that this Dask worker keeps."""
    for here in list(_HERE.values()):
        here.open.close()
    _HERE.clear()


def segment_there(scan: Scan, order: Order, limits: Limits) -> Record | Death:
    """The task that runs on a Dask worker, one at a time in each of its threads."""
    here = _HERE.setdefault(threading.get_ident(), _Here())
    ((_, result),) = list(here.pool_for(order, limits).results([scan]))
    return result
