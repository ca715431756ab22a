"""`medseg segment`: every scan of a directory, each one done or explained, whatever happens to the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from pathlib import Path

from medseg.batch.outdated import check_same_model, records_before, remove_outdated
from medseg.batch.outputs import Job, check_writable
from medseg.batch.pool import Death, Limits, Pool
from medseg.batch.progress import Tally, bar, say, say_more
from medseg.batch.resources import n_cpus, total_memory
from medseg.batch.resume import known_to_be_done, model_key, stamp_or_none
from medseg.batch.segment_scan import keep_log, keep_record
from medseg.batch.space import refuse_when_full
from medseg.batch.stopping import stoppable
from medseg.batch.worker import Order, inline
from medseg.brain.tools import TOOLS
from medseg.errors import ConfigError
from medseg.io.atomic import remove_leftovers
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.record import RECORDS, Record
from medseg.network.tiled_inference import WINDOW_VOXELS
from medseg.runtime.disk import EVERYWHERE
from medseg.runtime.memory import freed_memory_kept

TIMEOUT_S = 3600.0
_MOST_WORKERS = 16
_WORKER_BYTES = 1 << 30
_VOXEL_BYTES = 16
"""Memory that a worker needs: that of PyTorch and the model, and this much a voxel of its scan."""
_WINDOW_BYTES = 170
"""And this much a voxel that the network computes at once (measured, 16 feature channels)."""


@dataclass(frozen=True)
class Options:
    """How a batch is worked on.

    Attributes:
        workers: processes; None plans them from cores and memory, 0 works in this process without isolation.
        timeout_s: longest time for one scan; 0 for no limit.
        max_memory_gb: most memory (GiB) that one scan may take; None for what the machine has.
        shard: (i, n), the i-th of n parts of the scans, i from 1.
        scheduler: address of a Dask scheduler, or its scheduler file.
    """

    workers: int | None = None
    timeout_s: float = TIMEOUT_S
    max_memory_gb: float | None = None
    shard: tuple[int, int] = (1, 1)
    scheduler: str | None = None
    device: str = "auto"
    deterministic: bool = False

    @property
    def limits(self) -> Limits:
        """For the pool."""
        return Limits.of(self.timeout_s, self.max_memory_gb)


def parse_shard(text: str) -> tuple[int, int]:
    """``2/8`` as (2, 8).

    Raises:
        ConfigError: not of this form, or not one of the parts.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text}: expected i/n with i from 1 to n, for example 2/8")
    return int(match[1]), int(match[2])


def segment_scans(model: Model, folder: Path, scans: Sequence[Scan], job: Job, options: Options) -> list[Record]:
    """Segment every scan of this shard that is not done yet; a bad scan costs its own row only.

    Args:
        model: what lies in `folder`, from which the workers load it.

    Returns:
        The records of these scans, in their order.

    Raises:
        ConfigError: the folder holds results of another model for other scans.
        OutputError: nothing can be written there, or no longer.
    """
    check_writable(job.out)
    remove_leftovers(job.out, deep=True)
    model_now = model_key(model)
    check_same_model(job.out, scans, model_now)
    part, n_parts = options.shard
    scans = scans[part - 1 :: n_parts]
    records = {scan.id: record for scan in scans if (record := known_to_be_done(model_now, scan, job))}
    left = [scan for scan in scans if scan.id not in records]
    order, before = _order(left, folder, job, options), records_before(job.out, left)
    with bar("segmenting", len(scans)) as progress, stoppable(), freed_memory_kept():
        tally = Tally(progress, len(records), 0)
        for known in records.values():
            say_more(f"{known.scan}: done before, skipped")
        for scan, result in _results(model, left, order, options):
            record = result if isinstance(result, Record) else obituary(job.out, scan.id, result)
            records[scan.id] = record
            n_removed = remove_outdated(job.out, before.get(scan.id), record, model_now, stamp_or_none(scan, job))
            if n_removed:
                say(f"{scan.id}: removed {n_removed} files that another model, or another state of the scan, had given")
            tally.count(scan.id, record.status, record.why, record.seconds)
            say_more(told(record))
            if record.code in EVERYWHERE:
                refuse_when_full(job, [other for other in left if other.id not in records or other is scan])
    remove_leftovers(job.out / RECORDS)
    return [records[scan.id] for scan in scans]


def _results(
    model: Model, scans: Sequence[Scan], order: tuple[Order, int], options: Options
) -> Iterator[tuple[Scan, Record | Death]]:
    """Every scan once, as soon as it is through."""
    whole, n_workers = order
    sound = [scan for scan in scans if scan.is_ok]
    work = inline(model, whole)
    refused = ((scan, work(scan)) for scan in scans if not scan.is_ok)
    if options.scheduler is not None:
        from medseg.batch.cluster import results_of_cluster

        return chain(refused, results_of_cluster(sound, whole, options.scheduler, options.limits))
    if options.workers == 0:
        return chain(refused, ((scan, work(scan)) for scan in sound))
    return chain(refused, isolated(sound, whole, n_workers, options.limits))


def isolated(
    scans: Sequence[Scan], order: Order, n_workers: int, limits: Limits
) -> Iterator[tuple[Scan, Record | Death]]:
    """Work in a pool; what ran out of memory beside others is tried once more, alone."""
    if not scans:
        return
    again = []
    pool: Pool[Scan, Record] = Pool(order, n_workers, limits)
    with pool:
        for scan, result in pool.results(scans):
            if isinstance(result, Death) and result.innocent and len(scans) > 1:
                again.append(scan)
            else:
                yield scan, result
    if again:
        say(f"{len(again)} scans ended for lack of memory, once more, one at a time")
        pool = Pool(order, 1, limits)
        with pool:
            yield from pool.results(again)


def told(record: Record) -> str:
    """What became of a scan, in one line."""
    if not record.is_done:
        return f"{record.scan}: {record.status}: {record.why}"
    volumes = ", ".join(f"{number}: {volume / 1000:.1f} ml" for number, volume in sorted(record.volumes_mm3.items()))
    flags = f"; unlike the training scans in {len(record.flags)} measures" if record.flags else ""
    moved = "".join(f"; {alignment.told}" for alignment in record.alignments)
    return f"{record.scan}: done in {record.seconds:.1f} s, {record.peak_memory_mb:.0f} MB; {volumes}{flags}{moved}"


def obituary(out: Path, scan: str, death: Death) -> Record:
    """Keep the record and the log of a scan whose worker died."""
    log = "; see its log" if death.details else ""
    record = Record(scan, "failed", death.code, f"{death.reason}{log}", death.seconds)
    if death.details:
        keep_log(out, record, list(death.details))
    keep_record(out, record)
    return record


def _order(scans: Sequence[Scan], folder: Path, job: Job, options: Options) -> tuple[Order, int]:
    """What the workers are told, and how many they are."""
    extra = TOOLS[job.brain_mask].memory if job.brain_mask else 0
    n_workers = options.workers or planned_workers(scans, gpu=_is_gpu(options.device), extra_bytes=extra)
    n_threads = 1 if options.deterministic else max(1, n_cpus() // max(1, n_workers))
    absolute = replace(job, out=job.out.resolve(), masks=job.masks.resolve() if job.masks else None)
    return Order(folder.resolve(), absolute, options.device, n_threads, options.deterministic), n_workers


def planned_workers(scans: Sequence[Scan], *, gpu: bool, extra_bytes: int = 0) -> int:
    """As many as cores, memory and scans allow; two on a GPU, so that one reads and writes while the other computes.

    Args:
        extra_bytes: what each of them needs beside, such as for brain extraction.
    """
    voxels = max((prod(s.geometry.shape) * (1 + len(s.more_channels)) for s in scans if s.geometry), default=0)
    memory = total_memory()
    needed = extra_bytes + _WORKER_BYTES + voxels * _VOXEL_BYTES + min(voxels, WINDOW_VOXELS) * _WINDOW_BYTES
    by_memory = int(memory * 0.9 / needed) if memory else 1
    most = 2 if gpu else min(n_cpus(), _MOST_WORKERS)
    return max(1, min(most, by_memory, len(scans)))


def _is_gpu(device: str) -> bool:
    from medseg.runtime.device import choose_device

    return choose_device(device).type == "cuda"
