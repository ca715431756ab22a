"""What happened to every scan, as tables for people and statistics; and the lock of a folder that shards share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.batch.label_tables import write_label_tables
from medseg.io.atomic import remove_leftovers
from medseg.io.csv_table import write_csv
from medseg.labels.location import NAMES
from medseg.labels.table import LabelTable
from medseg.model.record import RECORDS, Record
from medseg.runtime.disk import writing_to


def write_tables(out: Path, records: Sequence[Record], table: LabelTable) -> None:
    """Write every table of an output folder, from the records and the names of the labels."""
    write_manifest(out, records, table)
    write_quality(out, records)
    write_places(out, records)
    write_label_tables(out, records, table)


def write_manifest(out: Path, records: Iterable[Record], table: LabelTable) -> None:
    """Write ``manifest.csv``: scan, status, reason, flags, seconds, peak memory, volume of each label in mm3."""
    numbers = [label.number for label in table]
    volumes = [f"{label.number} {label.name} mm3" for label in table]
    rows: list[Sequence[object]] = [["scan", "status", "reason", "flags", "seconds", "peak_memory_mb", *volumes]]
    for record in records:
        row: Sequence[object] = (record.scan, record.status, record.why, "; ".join(map(str, record.flags)),
                                 f"{record.seconds:.1f}", f"{record.peak_memory_mb:.0f}")  # fmt: skip
        rows.append([*row, *(f"{record.volumes_mm3.get(n, 0.0):.1f}" if record.is_done else "" for n in numbers)])
    write_csv(rows, out / "manifest.csv")


def write_quality(out: Path, records: Iterable[Record]) -> None:
    """Write ``quality.csv``: every measure of every scan that was segmented, and how many of them are flagged."""
    kept = [(record, record.quality.as_columns()) for record in records if record.is_done]
    names = list(dict.fromkeys(name for _, columns in kept for name in columns))
    rows: list[Sequence[object]] = [["scan", "n_flags", *names]]
    for record, columns in kept:
        values = [f"{columns[name]:.6g}" if name in columns else "" for name in names]
        rows.append([record.scan, len(record.flags), *values])
    write_csv(rows, out / "quality.csv")


def write_places(out: Path, records: Iterable[Record]) -> None:
    """Write ``places.csv``: where each label lies in each scan, as `medseg.labels.location` measures it."""
    rows: list[Sequence[object]] = [["scan", "label", *NAMES]]
    for record in records:
        for number, place in sorted(record.places.items()) if record.is_done else ():
            rows.append([record.scan, number, *(f"{place[name]:.4g}" for name in NAMES)])
    write_csv(rows, out / "places.csv")


@contextmanager
def locked(out: Path, name: str = "lock") -> Iterator[None]:
    """Let one process at a time write what concerns the whole folder; shards may end at the same moment.

    Args:
        name: of what only one does at a time.

    Where the file system or the platform has no locks, nothing is locked: every file is still whole, and the last
    process to end writes the complete manifest.
    """
    with writing_to(out):
        (out / RECORDS).mkdir(parents=True, exist_ok=True)
        lock = (out / RECORDS / name).open("a")
    with lock as file:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        remove_leftovers(out)
        yield
