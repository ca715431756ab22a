"""What happened to every scan: one small record a scan as it ends, one table for people."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medseg.io.atomic import remove_leftovers, write_text_whole
from medseg.labels.location import NAMES
from medseg.labels.table import LabelTable
from medseg.quality.reference import Flag
from medseg.report.outcome import RECORDS


@dataclass(frozen=True)
class Record:
    """The outcome of one scan.

    Attributes:
        status: ``done``, ``refused`` (the scan) or ``failed`` (the machine or the method).
        reason: reason code and sentence, empty when done.
        volumes_mm3: volume of each label by its number.
        quality: measures of the scan by name.
        flags: what is unlike the training scans.
        places: where each label lies, by its number.
        key: fingerprint of content, model and settings; a done scan with the same key is not done again.
        stamp: names, sizes and times of the scan's files; while it is the same, their content is not read again.
        outputs: size in bytes of every file written for the scan, by its name relative to OUT.
    """

    scan: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    volumes_mm3: dict[int, float] = field(default_factory=dict)
    key: str = ""
    stamp: str = ""
    outputs: dict[str, int] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    places: dict[int, dict[str, float]] = field(default_factory=dict)


def write_record(out: Path, record: Record) -> None:
    """Keep the outcome of one scan at once, so that a crash loses nothing that was done."""
    write_text_whole(record_path(out, record.scan), json.dumps(asdict(record), indent=1))


def read_record(out: Path, scan: str) -> Record | None:
    """The kept outcome of a scan, if there is one."""
    return _parse(record_path(out, scan))


def _parse(path: Path) -> Record | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        values["volumes_mm3"] = {int(k): float(v) for k, v in values["volumes_mm3"].items()}
        values["flags"] = [Flag(**flag) for flag in values.get("flags", [])]
        values["places"] = {int(k): dict(v) for k, v in values.get("places", {}).items()}
        return Record(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_records(out: Path) -> list[Record]:
    """All kept outcomes, ordered by scan."""
    names = sorted((out / RECORDS).glob("*.json")) if (out / RECORDS).is_dir() else []
    records = [_parse(path) for path in names]
    return sorted((record for record in records if record), key=lambda record: record.scan)


def write_manifest(out: Path, records: Iterable[Record], table: LabelTable) -> None:
    """Write ``manifest.csv``: scan, status, reason, flags, seconds, peak memory, volume of each label in mm3."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [label.number for label in table]
    volumes = [f"{label.number} {label.name} mm3" for label in table]
    writer.writerow(["scan", "status", "reason", "flags", "seconds", "peak_memory_mb", *volumes])
    for record in records:
        row: Sequence[object] = (record.scan, record.status, record.reason, "; ".join(map(str, record.flags)),
                                 f"{record.seconds:.1f}", f"{record.peak_memory_mb:.0f}")  # fmt: skip
        done = record.status == "done"
        writer.writerow([*row, *(f"{record.volumes_mm3.get(n, 0.0):.1f}" if done else "" for n in numbers)])
    write_text_whole(out / "manifest.csv", text.getvalue())


def write_quality(out: Path, records: Iterable[Record]) -> None:
    """Write ``quality.csv``: every measure of every scan that was segmented, and how many of them are flagged."""
    kept = [record for record in records if record.status == "done" and record.quality]
    names = list(dict.fromkeys(name for record in kept for name in record.quality))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "n_flags", *names])
    for record in kept:
        values = [f"{record.quality[name]:.6g}" if name in record.quality else "" for name in names]
        writer.writerow([record.scan, len(record.flags), *values])
    write_text_whole(out / "quality.csv", text.getvalue())


def write_places(out: Path, records: Iterable[Record]) -> None:
    """Write ``places.csv``: where each label lies in each scan, as `medseg.labels.location` measures it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "label", *NAMES])
    for record in records:
        for number, place in sorted(record.places.items()) if record.status == "done" else ():
            writer.writerow([record.scan, number, *(f"{place[name]:.4g}" for name in NAMES)])
    write_text_whole(out / "places.csv", text.getvalue())


def record_path(out: Path, scan: str) -> Path:
    """Where the outcome of a scan is kept."""
    return out / RECORDS / f"{hashlib.sha256(scan.encode()).hexdigest()[:16]}.json"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Let one process at a time write what concerns the whole folder; shards may end at the same moment.

    Where the file system or the platform has no locks, nothing is locked: every file is still whole, and the last
    process to end writes the complete manifest.
    """
    (out / RECORDS).mkdir(parents=True, exist_ok=True)
    with (out / RECORDS / "lock").open("a") as file:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        remove_leftovers(out)
        yield
