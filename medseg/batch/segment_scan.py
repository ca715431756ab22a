"""One scan from file to label volume, done or explained; and what concerns the whole output folder."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medseg.batch.formats import Origin, check_outputs
from medseg.batch.logs import describe, raised_in, remove_log, write_log
from medseg.batch.outdated import still_true
from medseg.batch.outputs import (
    Job,
    mask_path,
    mosaic_path,
    remove_halves,
    sizes_of,
    slices_path,
    viewer_path,
    write_outputs,
)
from medseg.batch.resources import forget_peak_memory, peak_memory_mb
from medseg.batch.resume import content_of, known_to_be_done, model_key, proven_to_be_done, stamp_of
from medseg.batch.tables import locked, write_manifest, write_places, write_quality
from medseg.errors import InputError, OutputError
from medseg.io.atomic import remove_leftovers, write_text_whole
from medseg.io.label_volumes import write_color_table
from medseg.io.maps import write_map
from medseg.io.read import read_mask, read_scan
from medseg.io.scan import Scan
from medseg.labels.location import places_of
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import Record, read_record, read_records, record_path, write_record
from medseg.model.segment import anomaly_of
from medseg.model.segmentation import Segmentation
from medseg.preprocessing.prepare import channels_of
from medseg.quality.anomaly import unit_of
from medseg.report.mosaic import write_pictures
from medseg.report.niivue import viewer
from medseg.report.viewer_volumes import write_viewer_volume
from medseg.runtime.limits import is_out_of_memory, limits_text, memory_limits
from medseg.spatial.geometry import Geometry
from medseg.version import __version__

_LOG = logging.getLogger(__name__)


def segment_or_explain(model: Model, scan: Scan, job: Job) -> Record:
    """Segment one scan unless it is done, and keep its record; nothing that an exception can do escapes."""
    started = time.monotonic()
    forget_peak_memory()
    try:
        remove_log(job.out, scan.id)
        known = known_to_be_done(model_key(model), scan, job)
        if known:
            return known
        record = _segment(model, scan, job, started)
    except InputError as error:
        record = Record(scan.id, "refused", error.code, str(error), time.monotonic() - started)
    except Exception as error:  # whatever it is, it costs this scan only
        seconds = time.monotonic() - started
        record = Record(scan.id, "failed", *explain(error, job.out), seconds, peak_memory_mb())
        keep_log(job.out, record, describe(error))
    keep_record(job.out, record)
    return record


def _segment(model: Model, scan: Scan, job: Job, started: float) -> Record:
    model_now, numbers = model_key(model), [label.number for label in model.table]
    if not scan.is_ok:
        raise InputError(scan.reason, code=scan.verdict)
    stamp, content = stamp_of(scan, job), content_of(scan, job)
    known = proven_to_be_done(model_now, scan, job, content)
    if known:
        return known
    remove_leftovers(record_path(job.out, scan.id).parent, record_path(job.out, scan.id).name, whoever=True)
    remove_halves(scan.id, job, numbers)
    earlier = still_true(job.out, read_record(job.out, scan.id), model_now, content)
    result, places = segment_one(model, scan, job)
    seconds = time.monotonic() - started
    return Record(
        scan.id, "done", "", "", seconds, peak_memory_mb(), result.volumes_mm3(), result.quality, result.flags, places,
        job.facts(model_now), content, stamp, {**earlier, **sizes_of(scan.id, job, numbers)},
    )  # fmt: skip


def segment_one(model: Model, scan: Scan, job: Job) -> tuple[Segmentation, dict[int, dict[str, float]]]:
    """Read, segment and write one scan; returns also where each label lies (`places_of`)."""
    check_outputs(scan, job.outputs)
    image = read_scan(scan)
    path = mask_path(job.masks, scan)
    mask = read_mask(path, Geometry.of(image)) if path else None
    result = model.segment(image, mask, outputs=job.outputs, min_confidence=job.min_confidence)
    first = channels_of(image)[0]
    if Output.ANOMALY in job.outputs:
        write_map(
            anomaly_of(model, image, mask), job.path(scan.id, Output.ANOMALY), unit=unit_of(model.config.channels.names)
        )
    # Compressing and drawing leave most of a second core idle each.
    with ThreadPoolExecutor(max_workers=2) as pool:
        pictures = slices_path(job.out, scan.id), mosaic_path(job.out, scan.id)
        written = [pool.submit(write_pictures, first, result, *pictures, title=scan.id)]
        if viewer() is not None:
            page, sure = viewer_path(job.out, scan.id), result.coarse_confidence
            written.append(pool.submit(write_viewer_volume, first, result.labels, page, sure))
        written.append(pool.submit(write_outputs, result, scan.id, job, Origin(scan, first, model.fingerprint)))
        places = pool.submit(places_of, result.labels, result.geometry)
    for output in written:
        output.result()
    return result, places.result()


def explain(error: Exception, out: Path) -> tuple[str, str]:
    """A reason code and a sentence that quotes no message of another library and no path."""
    if isinstance(error, OutputError):
        is_here = error.place.resolve().is_relative_to(out.resolve())
        return error.code, error.reason if is_here else f"the folder for temporary files (TMPDIR): {error.reason}"
    if is_out_of_memory(error):
        limits = f" ({limits_text()})" if memory_limits() else ""
        return "out_of_memory", (
            f"not enough memory for this scan{limits}; use fewer workers, a higher limit or a larger machine and run "
            "again"
        )
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return "machine", f"{reason}; free space or memory and run again"
    return "error", f"{raised_in(error)}; see its log"


def keep_record(out: Path, record: Record) -> None:
    """Write the record; when even that fails, the scan will be done again."""
    try:
        write_record(out, record)
    except OutputError as error:
        if record.code != error.code:  # the record itself says it else
            _LOG.warning("%s: its record could not be written (%s)", record.scan, error.code)


def keep_log(out: Path, record: Record, details: list[str]) -> None:
    """Write the log of a failure where possible."""
    try:
        write_log(out, record.scan, record.why, details)
    except (OutputError, InputError) as error:
        if record.code != error.code:
            _LOG.warning("%s: its log could not be written", record.scan)


def finish(out: Path, model: Model, command: Sequence[str], records: Sequence[Record] = ()) -> list[Record]:
    """Write what concerns the whole folder: manifest, quality table, colour table, run.json.

    Args:
        records: of this run; a full disk may have kept some of them from being written.
    """
    with locked(out):
        known = {record.scan: record for record in (*read_records(out), *records)}
        records = [known[scan] for scan in sorted(known)]
        write_manifest(out, records, model.table)
        write_quality(out, records)
        write_places(out, records)
        write_color_table(model.table, out / "labels.ctbl")
        write_text_whole(out / "run.json", json.dumps(run_facts(model, command), indent=1) + "\n")
    return list(records)


def run_facts(model: Model, command: Sequence[str]) -> dict[str, Any]:
    """Versions, settings, seed, device, machine; no path of a scan and no name."""
    packages = ("torch", "monai", "numpy", "nibabel", "pydicom", "SimpleITK")
    return {
        "medseg": __version__,
        "command": list(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "device": str(model.device),
        "seed": model.config.training.seed,
        "model": model.fingerprint,
        "config": model.config.model_dump(mode="json"),
        "plan": model.plan.model_dump(mode="json"),
        "created": model.created,
        "training": asdict(model.record),
        "labels": [label.model_dump(mode="json") for label in model.table],
    }
