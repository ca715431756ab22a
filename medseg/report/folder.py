"""Files that lie below ``OUT/report``; names never lead out of OUT."""

from __future__ import annotations

from pathlib import Path

from medseg.report.slices import FOLDER, Slices, read_slices


def report_file(out: Path, name: str) -> Path | None:
    """A file below ``OUT/report``, where there is one."""
    path = out / "report" / name
    try:
        is_there = path.resolve().is_relative_to(out.resolve()) and path.is_file()
    except (OSError, ValueError):
        return None
    return path if is_there else None


def mosaic_of(out: Path, scan: str) -> Path | None:
    """The mosaic of a scan, where there is one."""
    return report_file(out, f"{scan}.png")


def slices_of(out: Path, scan: str) -> Slices | None:
    """The slices of a scan, where there are sound ones."""
    path = report_file(out, f"{FOLDER}/{scan}.npz")
    return None if path is None else read_slices(path)
