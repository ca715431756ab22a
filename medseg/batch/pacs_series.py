"""One series that came from a PACS, in a worker process: checked, segmented, and made into DICOM segmentations."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.batch.logs import describe, explain
from medseg.batch.outputs import Job
from medseg.batch.resources import forget_peak_memory, peak_memory_mb
from medseg.batch.resume import model_key
from medseg.batch.segment_scan import keep_log, segment_one
from medseg.errors import InputError
from medseg.io.dicom_seg.writer import read_dicom_seg, write_dicom_seg
from medseg.io.discovery import find_scans
from medseg.io.pacs.base import PacsError, Series
from medseg.io.pacs.received import check_received
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.record import Record

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Received:
    """A series that was fetched into a folder.

    Attributes:
        n_expected: how many files the PACS says that it has.
    """

    series: Series
    folder: Path
    n_expected: int


@dataclass(frozen=True)
class Segmented:
    """What came of one volume of a series.

    Attributes:
        record: ``done`` when only storing is left.
        sources: its files.
        segmentation: the label map to store; None when there is none.
    """

    record: Record
    sources: tuple[Path, ...] = ()
    segmentation: Path | None = None


@dataclass(frozen=True)
class AsBinary:
    """A result that the PACS did not take as a label map, to be written as binary segments."""

    result: Segmented


def work_on_series(model: Model, task: Received | AsBinary, job: Job) -> tuple[Segmented, ...]:
    """Segment what was received, or write a result in another form; every exception becomes a record."""
    started = time.monotonic()
    forget_peak_memory()
    name = task.series.name if isinstance(task, Received) else task.result.record.scan
    try:
        if isinstance(task, AsBinary):
            return (_as_binary(model, task.result),)
        check_received(task.folder, task.series, task.n_expected)
        scans = [scan for scan in find_scans(task.folder) if not scan.is_bystander]
        if not scans:
            raise InputError("found no image in the series", code="not_a_volume")
        return tuple(_segmented(model, scan, job, task.folder) for scan in scans)
    except Exception as error:  # whatever it is, it costs this series only
        return (Segmented(_failure(job, name, error, started)),)


def _segmented(model: Model, scan: Scan, job: Job, folder: Path) -> Segmented:
    started = time.monotonic()
    try:
        if not scan.is_ok:
            raise InputError(scan.reason, code=scan.verdict)
        found = segment_one(model, scan, job)
        result = found.result
        path = folder / f"{scan.id}-labelmap.dcm"
        write_dicom_seg(result.labels, result.geometry, result.table, path, sources=scan.paths,
                        model=model.fingerprint, kind="labelmap")  # fmt: skip
        record = Record(
            scan.id, "done", "", "", time.monotonic() - started, peak_memory_mb(), result.volumes_mm3(), result.quality,
            result.flags, found.places, job.facts(model_key(model)), statistics=found.statistics, mask=found.mask,
        )  # fmt: skip
        return Segmented(record, tuple(scan.paths), path)
    except Exception as error:  # whatever it is, it costs this volume only
        return Segmented(_failure(job, scan.id, error, started))


def _as_binary(model: Model, result: Segmented) -> Segmented:
    """The same labels once more, from the label map that was written and read back."""
    if result.segmentation is None:
        raise ValueError("there is no label map")
    labels, geometry = read_dicom_seg(result.segmentation)
    path = result.segmentation.with_name(f"{result.record.scan}-binary.dcm")
    write_dicom_seg(labels, geometry, model.table, path, sources=result.sources,
                    model=model.fingerprint, kind="binary")  # fmt: skip
    return replace(result, segmentation=path)


def _failure(job: Job, name: str, error: Exception, started: float) -> Record:
    seconds = time.monotonic() - started
    if isinstance(error, InputError):
        return Record(name, "refused", error.code, str(error), seconds)
    if isinstance(error, PacsError):
        return Record(name, "failed", "pacs", str(error), seconds)
    record = Record(name, "failed", *explain(error, job.out), seconds, peak_memory_mb())
    keep_log(job.out, record, describe(error))
    return record
