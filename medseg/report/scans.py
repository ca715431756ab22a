"""The table of scans: a small picture of each, its volumes, how to look at it closer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from medseg.report.folder import mosaic_of, slices_of
from medseg.report.outcome import Outcome, ScanRow
from medseg.report.ratings import Rating, kept_ratings
from medseg.report.thumbnails import thumbnail
from medseg.report.viewer import ScanView
from medseg.report.viewer_volumes import FOLDER

MAX_PICTURES_BYTES = 40_000_000
"""Beyond this a scan has a link in place of its small picture, so that the page still opens."""


@dataclass(frozen=True)
class ScanLine:
    """A scan as the table shows it.

    Attributes:
        place: of the scan in the manifest.
        picture: data URI of its labels; empty without slices, or beyond the budget.
        link: address of the full picture beside the page; empty without one.
        knows_confidence: whether its slices have confidence; None without slices.
        has_view: whether the viewer can show it.
        source: address of its volumes beside the page.
        rating: what a person thinks of it.
        files: ending and address of each of its files; none in a page that stands alone.
    """

    place: int
    scan: ScanRow
    picture: str
    link: str
    knows_confidence: bool | None
    has_view: bool
    source: str
    rating: Rating
    files: tuple[tuple[str, str], ...]


def scan_lines(out: Path, outcome: Outcome, view: ScanView | None, *, is_alone: bool = False) -> list[ScanLine]:
    """One line per scan, in the order of the manifest."""
    left, lines, ratings = MAX_PICTURES_BYTES, [], kept_ratings(out)
    for place, scan in enumerate(outcome.scans):
        slices = slices_of(out, scan.name) if scan.is_done else None
        picture = thumbnail(slices, outcome.labels) if slices and left > 0 else ""
        left -= len(picture)
        is_linked = scan.is_done and (view is None or not view.is_inline) and mosaic_of(out, scan.name) is not None
        lines.append(ScanLine(
            place, scan, picture, f"report/{quote(scan.name)}.png" if is_linked else "",
            slices.knows_confidence if slices else None,
            view is not None and place in view.places, f"report/{FOLDER}/{quote(scan.name)}.js",
            ratings.get(scan.name, Rating("")),
            () if is_alone else tuple((_ending(name, scan.name), quote(name)) for name in scan.files),
        ))  # fmt: skip
    return lines


def _ending(file: str, scan: str) -> str:
    """What tells the files of a scan apart: the end of the name, behind the scan's own."""
    return file.removeprefix(scan).lstrip("_.") if file.startswith(scan) else file.rpartition("_")[2]
