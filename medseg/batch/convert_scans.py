"""`medseg convert`: every scan as a NIfTI file under its own name and on its own grid, each one done or explained."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path

from medseg.batch.logs import describe, explain, remove_log
from medseg.batch.outdated import remove_outdated
from medseg.batch.outputs import Job, check_writable, output_path
from medseg.batch.progress import Tally, bar, say
from medseg.batch.resume import CONVERTED, content_of, known_to_be_done, proven_to_be_done, stamp_of, stamp_or_none
from medseg.batch.segment_scan import keep_log, keep_record
from medseg.batch.tables import locked
from medseg.errors import ConfigError, InputError
from medseg.io.atomic import remove_leftovers, write_text_whole
from medseg.io.nifti_image import write_image
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.model.record import Record, read_record, read_records

SUFFIX = ".nii.gz"


def convert_scans(scans: Sequence[Scan], out: Path) -> list[Record]:
    """Write every scan that is not done yet as ``OUT/<scan>.nii.gz``, and ``manifest.csv``; a bad scan costs itself.

    Returns:
        The records of these scans, in their order.

    Raises:
        ConfigError: the folder cannot be written, or holds what segmenting wrote.
    """
    check_writable(out)
    _check_own_folder(out)
    remove_leftovers(out, deep=True)
    records = []
    with bar("converting", len(scans)) as progress:
        tally = Tally(progress, 0, 0)
        for scan in scans:
            record = _convert_or_explain(scan, out)
            tally.count(scan.id, record.status, record.why, record.seconds)
            records.append(record)
    with locked(out):
        _write_manifest(out)
    return records


def _check_own_folder(out: Path) -> None:
    others = [r.scan for r in read_records(out) if r.job is not None and not r.job.model.startswith(CONVERTED)]
    if others or (out / "run.json").exists():
        raise ConfigError(f"{out}: found what medseg segment wrote, expected a new folder or one of medseg convert; "
                          "give another --out")  # fmt: skip


def _convert_or_explain(scan: Scan, out: Path) -> Record:
    """Convert one scan unless it is done, and keep its record; every exception becomes a row of the manifest."""
    # What is regridded otherwise has other voxels.
    started, job, key = time.monotonic(), Job(out, frozenset()), f"{CONVERTED} {scan.regrid}".strip()
    before = read_record(out, scan.id)
    try:
        remove_log(out, scan.id)
        known = known_to_be_done(key, scan, job)
        if known:
            return known
        record = _convert(scan, job, key, started)
    except InputError as error:
        record = Record(scan.id, "refused", error.code, str(error), time.monotonic() - started)
    except Exception as error:  # whatever it is, it costs this scan only
        record = Record(scan.id, "failed", *explain(error, out), time.monotonic() - started)
        keep_log(out, record, describe(error))
    keep_record(out, record)
    if remove_outdated(out, before, record, key, stamp_or_none(scan, job)):
        say(f"{scan.id}: removed its file, which another state of the scan had given")
    return record


def _convert(scan: Scan, job: Job, key: str, started: float) -> Record:
    if not scan.is_ok:
        raise InputError(scan.reason, code=scan.verdict)
    stamp, content = stamp_of(scan, job), content_of(scan, job)
    known = proven_to_be_done(key, scan, job, content)
    if known:
        return known
    path = output_path(job.out, scan.id, SUFFIX)
    write_image(read_scan(scan), path)
    return Record(
        scan.id, "done", seconds=time.monotonic() - started, job=job.facts(key), content=content, stamp=stamp,
        outputs={path.relative_to(job.out).as_posix(): path.stat().st_size},
    )  # fmt: skip


def _write_manifest(out: Path) -> None:
    """Write ``manifest.csv``: scan, status, reason, seconds, and the file relative to OUT."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "status", "reason", "seconds", "file"])
    for record in read_records(out):
        writer.writerow(
            [record.scan, record.status, record.why, f"{record.seconds:.1f}", next(iter(record.outputs), "")]
        )
    write_text_whole(out / "manifest.csv", text.getvalue())
