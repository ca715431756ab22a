"""When a scan counts as done: same content, same job by the same model, and its outputs still there as written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from medseg.batch.outputs import Job
from medseg.brain.keep import mask_digest
from medseg.errors import InputError
from medseg.io.mask_files import mask_candidates
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.record import Record, read_record, write_record

CONVERTED = "converted"
"""Begins what stands for a model in the records of a folder that `medseg convert` wrote."""


def model_key(model: Model) -> str:
    """What changes with everything that a model has learned, and with the names and colours of its labels."""
    return f"{model.fingerprint}-{hashlib.sha256(model.table.model_dump_json().encode()).hexdigest()[:8]}"


def stamp_of(scan: Scan, job: Job) -> str:
    """Names, sizes and times of the scan's files and its given mask: cheap, and it changes when they are written anew.

    Raises:
        InputError: the files are gone or not readable.
    """
    try:
        files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _files(scan, job)]
    except OSError as error:
        raise _unreadable(scan, error) from None
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def stamp_or_none(scan: Scan, job: Job) -> str:
    """The stamp; empty when the files are gone or not readable."""
    try:
        return stamp_of(scan, job)
    except InputError:
        return ""


def content_of(scan: Scan, job: Job) -> str:
    """Fingerprint of every byte of the scan's files and its given mask.

    Raises:
        InputError: the files are gone or not readable.
    """
    digest = hashlib.sha256()
    try:
        for path in _files(scan, job):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise _unreadable(scan, error) from None
    return digest.hexdigest()[:16]


def known_to_be_done(model: str, scan: Scan, job: Job) -> Record | None:
    """The record of a scan that is done, as far as can be said without reading the scan; `model` is the `model_key`."""
    known = _written_as_asked(model, scan, job)
    if known is None:
        return None
    return known if known.stamp == stamp_or_none(scan, job) else None


def proven_to_be_done(model: str, scan: Scan, job: Job, content: str) -> Record | None:
    """The record of a scan whose files were only copied or touched; its stamp is brought up to date."""
    known = _written_as_asked(model, scan, job)
    if known is None or known.content != content:
        return None
    renewed = replace(known, stamp=stamp_of(scan, job))
    write_record(job.out, renewed)
    return renewed


def _written_as_asked(model: str, scan: Scan, job: Job) -> Record | None:
    """The record of a scan that was done for the same job, and whose outputs are still there as written."""
    known = read_record(job.out, scan.id)
    if known is None or not known.is_done or known.job != job.facts(model) or not known.outputs:
        return None
    if known.mask.digest and known.mask.digest != mask_digest(job.brain_mask_path(scan.id)):
        return None
    is_intact = all(_has_size(job.out / name, size) for name, size in known.outputs.items())
    return known if is_intact else None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _files(scan: Scan, job: Job) -> list[Path]:
    return [*scan.all_paths, *(mask_candidates(job.masks, scan) if job.masks else ())]


def _unreadable(scan: Scan, error: OSError) -> InputError:
    return InputError(f"{scan.id}: the files are gone or not readable ({error.strerror})", code="no_permission")
