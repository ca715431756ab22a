"""`medseg pacs`: find series in a PACS, segment them, store the segmentations beside them."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from medseg.batch.outputs import Job, check_writable
from medseg.batch.progress import bar, say
from medseg.batch.resources import peak_memory_mb
from medseg.batch.resume import model_key
from medseg.batch.segment_scan import segment_one
from medseg.batch.stopping import stoppable
from medseg.errors import ConfigError, InputError
from medseg.io.dicom_seg.writer import Kind, seg_series_uid, write_dicom_seg
from medseg.io.discovery import find_scans
from medseg.io.pacs.base import Credentials, Pacs, PacsError, Query, Series, StorageRefusedError, Tls
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.record import Record, write_record
from medseg.model.segmentation import Segmentation

_LOG = logging.getLogger(__name__)
_VARIABLES = {"token": "MEDSEG_PACS_TOKEN", "user": "MEDSEG_PACS_USER", "password": "MEDSEG_PACS_PASSWORD"}
STALE_S = 24 * 3600.0
"""Downloads of a killed run are removed after a day."""


@dataclass(frozen=True)
class Outcome:
    """What a run did: records of the scans worked on, and how many series had their segmentation already."""

    records: list[Record]
    n_known: int


def connect(args: argparse.Namespace) -> Pacs:
    """The PACS that the flags name.

    Raises:
        ConfigError: a flag is wrong, or the package that speaks the protocol is not installed.
    """
    credentials = read_credentials(args.credentials)
    tls = Tls(_existing(args.ca, "--ca"), _existing(args.cert, "--cert"))
    for package in ("dicomweb_client", "pynetdicom"):
        if find_spec(package) is None:
            raise ConfigError(f"medseg pacs needs {package}, which is not installed; pip install 'medseg[pacs]'")
    if args.dicomweb:
        from medseg.io.pacs.dicomweb import WebPacs

        return WebPacs(args.dicomweb, credentials, tls)
    from medseg.io.pacs.dimse import DimsePacs

    is_encrypted = args.tls or tls.authority or tls.certificate
    return DimsePacs(args.dimse, args.aet, credentials, tls if is_encrypted else None)


def _existing(path: Path | None, flag: str) -> Path | None:
    if path is not None and not path.is_file():
        raise ConfigError(f"{flag} {path}: found no file, expected a PEM file; check the path")
    return path


def read_credentials(path: Path | None) -> Credentials:
    """Token, or user and password, from a file of ``name=value`` lines; without a file from the environment.

    Raises:
        ConfigError: the file cannot be read or holds something else.
    """
    if path is None:
        return Credentials(**{name: os.environ.get(variable, "") for name, variable in _VARIABLES.items()})
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"--credentials {path}: cannot be read, expected a text file; check the path") from None
    pairs = dict(line.partition("=")[::2] for line in lines if line and not line.startswith("#"))
    values = {name.strip(): value.strip() for name, value in pairs.items()}
    if not values or not set(values) <= set(_VARIABLES):
        raise ConfigError(f"--credentials {path}: expected lines token=..., or user=... and password=...")
    return Credentials(**values)


def parse_query(args: argparse.Namespace) -> Query:
    """What to look for.

    Raises:
        ConfigError: nothing is named, which would mean the whole PACS, or a value has another form.
    """
    query = Query(args.patient or "", args.study or "", (args.modality or "").upper(), args.date or "")
    if query == Query():
        raise ConfigError("medseg pacs: name at least one of --patient, --study, --modality, --date")
    for flag, value in (("--patient", query.patient), ("--study", query.study), ("--modality", query.modality)):
        if re.search(r"[*?\\]", value):
            raise ConfigError(f"{flag}: found a wildcard, expected one value")
    if query.date and not re.fullmatch(r"\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}", query.date):
        raise ConfigError(f"--date {query.date}: expected YYYYMMDD or YYYYMMDD-YYYYMMDD")
    return query


def segment_pacs(pacs: Pacs, query: Query, model: Model, job: Job) -> Outcome:
    """Fetch, segment and store every series that matches and has no segmentation by this model yet.

    Raises:
        PacsError: the search fails; what fails later costs its own series only.
    """
    check_writable(job.out)
    series = pacs.find(query)
    records: list[Record] = []
    n_known = 0
    with bar("segmenting", len(series)) as progress, stoppable():
        for n_done, one in enumerate(series, start=1):
            try:
                if pacs.has(one.study_uid, seg_series_uid(one.series_uid, model.fingerprint)):
                    n_known += 1
                else:
                    records += _segment_series(pacs, one, model, job)
            except PacsError as error:
                records.append(_keep(job.out, Record(one.name, "failed", "pacs", str(error))))
            progress.advance(n_done, f"{n_known} known" if n_known else "")
    return Outcome(records, n_known)


def _segment_series(pacs: Pacs, series: Series, model: Model, job: Job) -> list[Record]:
    with downloads(job.out) as folder:
        pacs.fetch(series, folder)
        scans = [scan for scan in find_scans(folder) if not scan.is_bystander]
        if not scans:
            return [_keep(job.out, Record(series.name, "refused", "not_a_volume", "found no image in the series"))]
        return [_keep(job.out, _segment_and_store(pacs, scan, model, job, folder)) for scan in scans]


def _segment_and_store(pacs: Pacs, scan: Scan, model: Model, job: Job, folder: Path) -> Record:
    started = time.monotonic()
    status = "failed"
    try:
        result, places, mask = segment_one(model, scan, job)
        store_segmentation(pacs, result, scan, model, folder)
        return Record(
            scan.id, "done", "", "", time.monotonic() - started, peak_memory_mb(), result.volumes_mm3(), result.quality,
            result.flags, places, job.facts(model_key(model)), mask=mask,
        )  # fmt: skip
    except InputError as error:
        status, code, reason = "refused", error.code, str(error)
    except PacsError as error:
        code, reason = "pacs", str(error)
    except (OSError, MemoryError) as error:
        _LOG.warning("%s: %s", scan.id, type(error).__name__)
        code, reason = "machine", f"{type(error).__name__}; free space or memory and run again"
    return Record(scan.id, status, code, reason, time.monotonic() - started, peak_memory_mb())


def store_segmentation(pacs: Pacs, result: Segmentation, scan: Scan, model: Model, folder: Path) -> Kind:
    """Store the result as a label map, or as binary segments where the server takes no label map.

    Returns:
        The kind that was stored.
    """
    try:
        _store(pacs, result, scan, model, folder, "labelmap")
    except StorageRefusedError as error:
        _LOG.info("no label map: %s", error)
        _store(pacs, result, scan, model, folder, "binary")
        return "binary"
    return "labelmap"


def _store(pacs: Pacs, result: Segmentation, scan: Scan, model: Model, folder: Path, kind: Kind) -> None:
    path = folder / "segmentation.dcm"
    write_dicom_seg(result.labels, result.geometry, result.table, path, sources=scan.paths,
                    model=model.fingerprint, kind=kind)  # fmt: skip
    pacs.store(path)


def _keep(out: Path, record: Record) -> Record:
    write_record(out, record)
    return record


@contextmanager
def downloads(out: Path) -> Iterator[Path]:
    """A folder for patients' files below OUT that only this user can read, removed whatever happens."""
    parent = out / ".medseg"
    parent.mkdir(parents=True, exist_ok=True)
    for stale in parent.glob("pacs-*"):
        if time.time() - stale.stat().st_mtime > STALE_S:
            shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="pacs-", dir=parent) as name:
        yield Path(name)


def say_summary(outcome: Outcome) -> None:
    """Say what happened to each scan that is not done, and how many are."""
    for record in outcome.records:
        if not record.is_done:
            say(f"{record.scan}: {record.status}: {record.why}")
    n_done = sum(record.is_done for record in outcome.records)
    say(f"{n_done} of {len(outcome.records)} scans segmented and stored")
    say(f"{outcome.n_known} series had their segmentation already")
