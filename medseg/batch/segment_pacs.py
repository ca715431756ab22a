"""Series of a PACS, one after the other: fetched, segmented in a worker process, stored; each one costs itself only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.logs import explain
from medseg.batch.outputs import Job
from medseg.batch.pacs_series import AsBinary, Received, Segmented, work_on_series
from medseg.batch.pool import Death, Limits, Pool
from medseg.batch.progress import bar
from medseg.batch.resources import n_cpus
from medseg.batch.segment_scan import keep_record
from medseg.batch.segment_scans import obituary
from medseg.batch.stopping import stoppable
from medseg.batch.worker import Order
from medseg.io.atomic import remove_leftovers, scratch_folder
from medseg.io.dicom_seg.writer import seg_series_uid
from medseg.io.pacs.base import Found, Pacs, PacsError, Query, Series, StorageRefusedError
from medseg.model.record import RECORDS, Record

_LOG = logging.getLogger(__name__)
Work = Callable[[Received | AsBinary], tuple[Segmented, ...] | Death]
"""What is done with a series, wherever it is done."""


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        records: of the scans worked on.
        n_known: series that had their segmentation already.
        n_others: studies that the server found though they were not asked for.
    """

    records: list[Record]
    n_known: int
    n_others: int = 0


@contextmanager
def workers(model: Path, job: Job, device: str, limits: Limits) -> Iterator[Work]:
    """A process that segments, replaced when it dies."""
    order = Order(model.resolve(), job, device, n_cpus(), work=work_on_series)
    pool: Pool[Received | AsBinary, tuple[Segmented, ...]] = Pool(order, 1, limits)
    with pool:

        def work(task: Received | AsBinary) -> tuple[Segmented, ...] | Death:
            ((_, result),) = list(pool.results([task]))
            return result

        yield work


def segment_pacs(pacs: Pacs, query: Query, work: Work, job: Job, model: str) -> Outcome:
    """Fetch, segment and store every series that matches and has no segmentation by this model yet.

    Args:
        model: fingerprint of the model.

    Raises:
        PacsError: the search fails; what fails later costs its own series only.
    """
    remove_leftovers(job.out, deep=True)
    found: Found = pacs.find(query)
    records: list[Record] = []
    n_known = 0
    with bar("segmenting", len(found.series)) as progress, stoppable():
        for n_done, series in enumerate(found.series, start=1):
            try:
                if _is_known(pacs, series, model):
                    n_known += 1
                else:
                    records += _segment_series(pacs, series, work, job)
            except PacsError as error:
                records.append(_keep(job.out, Record(series.name, "failed", "pacs", str(error))))
            except OSError as error:
                records.append(_keep(job.out, Record(series.name, "failed", *explain(error, job.out))))
            progress.advance(n_done, f"{n_known} known" if n_known else "")
    return Outcome(records, n_known, found.n_others)


def _is_known(pacs: Pacs, series: Series, model: str) -> bool:
    if series.flaw:
        raise PacsError(series.flaw)
    return pacs.has(series.study_uid, seg_series_uid(series.series_uid, model))


def _segment_series(pacs: Pacs, series: Series, work: Work, job: Job) -> list[Record]:
    with downloads(job.out) as folder:
        received = folder / "received"
        received.mkdir()
        n_expected = pacs.fetch(series, received)
        results = work(Received(series, received, n_expected))
        if isinstance(results, Death):
            return [obituary(job.out, series.name, results)]
        return [_keep(job.out, _stored(pacs, result, work, job)) for result in results]


def _stored(pacs: Pacs, result: Segmented, work: Work, job: Job) -> Record:
    """Store a label map, or binary segments where the server takes no label map."""
    try:
        if result.segmentation is None:
            return result.record
        try:
            pacs.store(result.segmentation)
        except StorageRefusedError as error:
            _LOG.info("no label map: %s", error)
            again = work(AsBinary(result))
            if isinstance(again, Death):
                return obituary(job.out, result.record.scan, again)
            if again[0].segmentation is None:
                return again[0].record
            pacs.store(again[0].segmentation)
    except PacsError as error:
        return Record(result.record.scan, "failed", "pacs", str(error), result.record.seconds)
    return result.record


def _keep(out: Path, record: Record) -> Record:
    keep_record(out, record)
    return record


@contextmanager
def downloads(out: Path) -> Iterator[Path]:
    """A folder for patients' files below OUT that only this user can read, removed whatever happens.

    What a hard kill leaves of it is removed by the next run.
    """
    with scratch_folder(out / RECORDS / "pacs", is_private=True) as folder:
        yield folder
