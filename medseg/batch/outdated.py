"""What an earlier run left in an output folder and this one makes untrue: refused, or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.batch.resume import CONVERTED
from medseg.errors import ConfigError
from medseg.io.scan import Scan
from medseg.model.record import Record, read_records


def check_same_model(out: Path, scans: Sequence[Scan], model: str) -> None:
    """Refuse a folder with results of another model that this run would not renew; its tables would mix both.

    Args:
        scans: all of the run.
        model: the `model_key`.

    Raises:
        ConfigError: there are such results, or images that `medseg convert` wrote.
    """
    own, records = {scan.id for scan in scans}, read_records(out)
    if any(r.job is not None and r.job.model.startswith(CONVERTED) for r in records):
        raise ConfigError(f"{out}: found images that medseg convert wrote, expected none; give another --out")
    others = [r.scan for r in records if r.job is not None and r.job.model != model and r.scan not in own]
    if others:
        raise ConfigError(
            f"{out}: found results of another model for other scans than these ({len(others)}, such as {others[0]}), "
            "expected those of one model; give another --out, or remove them"
        )


def remove_outdated(out: Path, before: Record | None, now: Record, model: str, stamp: str) -> int:
    """Remove files that a record of before names and that no longer say what the scan or the model says; how many.

    What this model made of the same scan stays: when less is asked for now, when only the machine failed, and when
    what is asked for now cannot be had of this scan.

    Args:
        model: the `model_key`.
        stamp: of the scan's files now; empty when they cannot be read.
    """
    if before is None:
        return 0
    is_by_it = before.job is not None and before.job.model == model
    if is_by_it and (now.status == "failed" or before.stamp == stamp or now.content == before.content):
        return 0
    paths = [out / name for name in set(before.outputs) - set(now.outputs)]
    there = [path for path in paths if path.resolve().is_relative_to(out.resolve()) and path.is_file()]
    for path in there:
        path.unlink()
    return len(there)


def still_true(out: Path, before: Record | None, model: str, content: str) -> dict[str, int]:
    """Bytes of the files that this model made of this content earlier and that are still there, by their name."""
    if before is None or before.job is None or before.job.model != model or before.content != content:
        return {}
    return {name: size for name, size in before.outputs.items() if (out / name).is_file()}


def records_before(out: Path, scans: Sequence[Scan]) -> Mapping[str, Record]:
    """What is known of these scans before they are segmented, by name."""
    own = {scan.id for scan in scans}
    return {record.scan: record for record in read_records(out) if record.scan in own}
