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
from typing import Any, NamedTuple

from monai.data.meta_tensor import MetaTensor

from medseg.batch.formats import Origin, check_outputs
from medseg.batch.logs import describe, explain, remove_log, write_log
from medseg.batch.masks import ScanMask, mask_of
from medseg.batch.outdated import still_true
from medseg.batch.outputs import (
    Job,
    mask_picture_path,
    mosaic_path,
    remove_halves,
    sizes_of,
    slices_path,
    viewer_path,
    write_outputs,
)
from medseg.batch.resources import forget_peak_memory, peak_memory_mb
from medseg.batch.resume import content_of, known_to_be_done, model_key, proven_to_be_done, stamp_of
from medseg.batch.tables import locked, write_tables
from medseg.errors import InputError, OutputError
from medseg.io.alignment import Alignment
from medseg.io.atomic import remove_leftovers, write_text_whole
from medseg.io.bids import write_mask_sidecar
from medseg.io.label_volumes import write_color_table
from medseg.io.maps import write_map
from medseg.io.read import read_aligned
from medseg.io.scan import Scan
from medseg.labels.location import places_of
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import MaskFacts, Record, read_record, read_records, record_path, write_record
from medseg.model.segment import anomaly_of
from medseg.model.segmentation import Segmentation
from medseg.preprocessing.prepare import channels_of
from medseg.quality.anomaly import unit_of as unit_of_anomaly
from medseg.report.brain_masks import write_mask_picture
from medseg.report.mosaic import write_pictures
from medseg.report.niivue import viewer
from medseg.report.viewer_volumes import write_viewer_volume
from medseg.statistics.intensity import IntensityStatistics, intensity_statistics, unit_of
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
    found = segment_one(model, scan, job)
    result = found.result
    seconds = time.monotonic() - started
    return Record(
        scan.id, "done", "", "", seconds, peak_memory_mb(), result.volumes_mm3(), result.quality, result.flags,
        found.places, job.facts(model_now), content, stamp, {**earlier, **sizes_of(scan.id, job, numbers)},
        subject=scan.subject, session=scan.session, statistics=found.statistics, alignments=found.alignments,
        mask=found.mask,
    )  # fmt: skip


class Segmented(NamedTuple):
    """What was found in a scan.

    Attributes:
        places: where each label lies (`places_of`).
        statistics: how bright each label is in the scan as read.
        alignments: how further channels were brought onto the first one.
        mask: that it was worked on in.
    """

    result: Segmentation
    places: dict[int, dict[str, float]]
    statistics: tuple[IntensityStatistics, ...]
    alignments: tuple[Alignment, ...] = ()
    mask: MaskFacts = MaskFacts()


def segment_one(model: Model, scan: Scan, job: Job) -> Segmented:
    """Read, segment and write one scan."""
    check_outputs(scan, job.outputs)
    (image, alignments), names = read_aligned(scan), model.config.channels.names
    mask = mask_of(scan, image, job, model.device, names)
    options = {"outputs": job.outputs, "min_confidence": job.min_confidence}
    result = model.segment(image, mask.inside, finds_brain=False, **options)
    first = channels_of(image)[0]
    if Output.ANOMALY in job.outputs:
        found = anomaly_of(model, image, mask.inside, finds_brain=False)
        write_map(found, job.path(scan.id, Output.ANOMALY), unit=unit_of_anomaly(names))
    # Compressing and drawing leave most of a second core idle each.
    with ThreadPoolExecutor(max_workers=2) as pool:
        pictures = slices_path(job.out, scan.id), mosaic_path(job.out, scan.id)
        written = [pool.submit(write_pictures, first, result, *pictures, title=scan.id)]
        if viewer() is not None:
            page, sure = viewer_path(job.out, scan.id), result.coarse_confidence
            written.append(pool.submit(write_viewer_volume, first, result.labels, page, sure))
        written.append(pool.submit(write_outputs, result, scan.id, job, Origin(scan, first, model.fingerprint)))
        written.append(pool.submit(_show_mask, first, mask, scan, job))
        places = pool.submit(places_of, result.labels, result.geometry)
        statistics = pool.submit(_statistics, model, image, result)
    for output in written:
        output.result()
    return Segmented(result, places.result(), statistics.result(), alignments, mask.facts)


def _show_mask(image: MetaTensor, mask: ScanMask, scan: Scan, job: Job) -> None:
    """Draw the brain mask that was made of a (1, I, J, K) image, and say in a BIDS derivative how."""
    if mask.inside is None or not mask.facts.digest:
        return
    picture = mask_picture_path(job.out, scan.id)
    write_mask_picture(image, mask.inside, picture, title=f"{scan.id}: brain mask ({mask.facts.by})")
    for path in job.brain_mask_files(scan.id):
        if path.suffix == ".json":
            write_mask_sidecar(f"{scan.id}{''.join(scan.path.suffixes[-2:])}", path, by=mask.facts.by)


def _statistics(model: Model, image: MetaTensor, result: Segmentation) -> tuple[IntensityStatistics, ...]:
    numbers, unit = [label.number for label in result.table], unit_of(model.plan.modality)
    return intensity_statistics(image, result.labels, numbers, unit=unit, channels=model.config.channels.names)


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
    """Write what concerns the whole folder: all tables, the colour table, run.json.

    Args:
        records: of this run; a full disk may have kept some of them from being written.
    """
    with locked(out):
        known = {record.scan: record for record in (*read_records(out), *records)}
        records = [known[scan] for scan in sorted(known)]
        write_tables(out, records, model.table)
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
