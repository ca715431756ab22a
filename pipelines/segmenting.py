"""`medseg segment`: label volumes for every scan of a directory, one scan at a time, each one done or explained."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medseg.pipelines.manifest import Record, read_record, read_records, write_manifest, write_record
from medseg.pipelines.progress import bar
from medseg.pipelines.writing import DEFAULT_FORMATS, SUFFIXES, Origin, check_formats, write_format

from medseg import __version__
from medseg.errors import ConfigError, InputError
from medseg.geometry import Geometry
from medseg.io.atomic import write_text_whole
from medseg.io.labels import write_color_table
from medseg.io.read import read_mask, read_scan
from medseg.io.scan import Scan
from medseg.model import Model, Segmentation
from medseg.report.mosaic import write_mosaic

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What to do with every scan: where outputs go, in which formats, inside which masks."""

    out: Path
    formats: tuple[str, ...] = DEFAULT_FORMATS
    masks: Path | None = None


def parse_formats(text: str) -> tuple[str, ...]:
    """``nifti,seg.nrrd`` as a tuple; unknown names are a `ConfigError`."""
    formats = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [name for name in formats if name not in SUFFIXES]
    if unknown or not formats:
        raise ConfigError(f"--write {text}: found {unknown or 'nothing'}, expected some of {', '.join(SUFFIXES)}")
    return formats


def check_writable(folder: Path) -> None:
    """Make the folder, and fail before any work when nothing can be written there."""
    try:
        write_text_whole(folder / ".medseg" / "writable", "yes\n")
        (folder / ".medseg" / "writable").unlink()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); give another --out") from None


def mask_path(masks: Path | None, scan: Scan) -> Path | None:
    """The mask of a scan under the same relative name.

    Raises:
        InputError: ``no_mask`` when masks are given but not for this scan.
    """
    if masks is None:
        return None
    for suffix in (".nii.gz", ".nii"):
        path = masks / f"{scan.id}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"no mask {scan.id}.nii.gz below the mask folder; add it or leave the scan out", code="no_mask")


def segment_scans(model: Model, scans: Sequence[Scan], job: Job) -> list[Record]:
    """Segment every scan that is not done yet; a bad scan costs its own row only.

    Returns:
        The records of these scans, in their order.
    """
    check_writable(job.out)
    records = []
    with bar("segmenting", len(scans)) as progress:
        for n_done, scan in enumerate(scans, start=1):
            records.append(_segment_or_explain(model, scan, job))
            n_bad = sum(r.status != "done" for r in records)
            progress.advance(n_done, f"{n_bad} refused or failed" if n_bad else "")
    return records


def _segment_or_explain(model: Model, scan: Scan, job: Job) -> Record:
    started = time.monotonic()
    try:
        key = scan_key(model, scan, job)
        known = read_record(job.out, scan.id)
        if known and known.status == "done" and known.key == key and _outputs_exist(scan, job):
            return known
        result = segment_one(model, scan, job)
        record = Record(scan.id, "done", "", time.monotonic() - started, peak_memory_mb(), result.volumes_mm3(), key)
    except InputError as error:
        record = Record(scan.id, "refused", f"{error.code}: {error}", time.monotonic() - started)
    except (OSError, MemoryError) as error:
        _LOG.warning("%s: %s", scan.id, error)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        record = Record(scan.id, "failed", f"machine: {reason}; free space or memory and run again",
                        time.monotonic() - started)  # fmt: skip
    try:
        write_record(job.out, record)
    except OSError as error:
        _LOG.warning("%s: its record could not be written (%s)", scan.id, error.strerror)
    return record


def segment_one(model: Model, scan: Scan, job: Job) -> Segmentation:
    """Read, segment and write one scan."""
    check_formats(scan, job.formats)
    image = read_scan(scan)
    path = mask_path(job.masks, scan)
    result = model.segment(image, read_mask(path, Geometry.of(image)) if path else None)
    write_outputs(result, scan.id, job, Origin(scan, image, model.fingerprint))
    write_mosaic(image, result, job.out / "report" / f"{scan.id}.png", title=scan.id)
    return result


def output_path(out: Path, scan_id: str, suffix: str) -> Path:
    """Where an output of a scan lies; ids never leave OUT."""
    path = out / f"{scan_id}{suffix}"
    if not path.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{scan_id}: the name leads outside the output folder; rename the scan", code="bad_name")
    return path


def write_outputs(result: Segmentation, scan_id: str, job: Job, origin: Origin | None = None) -> None:
    """Write the label volume in the formats asked for."""
    for name in job.formats:
        write_format(name, result, output_path(job.out, scan_id, SUFFIXES[name]), origin)


def _outputs_exist(scan: Scan, job: Job) -> bool:
    return all(output_path(job.out, scan.id, SUFFIXES[name]).is_file() for name in job.formats)


def scan_key(model: Model, scan: Scan, job: Job) -> str:
    """Fingerprint of everything that the outputs of a scan depend on: files, model, settings."""
    path = mask_path(job.masks, scan)
    try:
        files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in (*scan.paths, *([path] if path else []))]
    except OSError as error:
        raise InputError(
            f"{scan.id}: the files are gone or not readable ({error.strerror})", code="no_permission"
        ) from None
    digest = hashlib.sha256(json.dumps([files, sorted(job.formats)]).encode()).hexdigest()[:16]
    return f"{model_key(model)}-{digest}"


def model_key(model: Model) -> str:
    """What the model contributes to a key: everything learned, and the names and colours of its labels."""
    return f"{model.fingerprint}-{hashlib.sha256(model.table.model_dump_json().encode()).hexdigest()[:8]}"


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def finish(out: Path, model: Model, command: Sequence[str]) -> list[Record]:
    """Write what concerns the whole folder: manifest, colour table, run.json."""
    records: list[Record] = read_records(out)
    write_manifest(out, records, model.table)
    write_color_table(model.table, out / "labels.ctbl")
    write_text_whole(out / "run.json", json.dumps(run_facts(model, command), indent=1) + "\n")
    return records


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
    }
