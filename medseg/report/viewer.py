"""The scan view of the page: three planes and 3-D of one scan, its labels, what is odd about it, how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from medseg.report.facts import command_of
from medseg.report.markup import source_hash
from medseg.report.niivue import Viewer, copy_viewer, viewer
from medseg.report.outcome import Outcome
from medseg.report.outliers import flagged
from medseg.report.viewer_volumes import as_json, volume_path


@dataclass(frozen=True)
class ScanView:
    """What the page needs for its scan view.

    Attributes:
        places: of the scans that have volumes.
        labels: JSON list of number, name and colour of every label.
        notes: JSON object with what is unlike the training scans, by name of the scan.
        command: that made the outputs; empty when it was not kept.
        volumes: (name of the scan, JSON) of what stands inside the page; empty when it lies beside it.
        is_inline: whether viewer and volumes stand inside the page rather than in files beside it.
    """

    viewer: Viewer
    places: frozenset[int]
    labels: str
    notes: str
    command: str
    volumes: tuple[tuple[str, str], ...]
    is_inline: bool

    @property
    def script(self) -> str:
        """The page's own code that drives the viewer."""
        return files("medseg.report").joinpath("viewer.js").read_text("utf-8")

    def sources(self) -> str:
        """What the content policy must allow beside the page's own script."""
        own = source_hash(self.script)
        return f" {own} {source_hash(self.viewer.script)}" if self.is_inline else f" {own} 'self' file:"


def scan_view(out: Path, outcome: Outcome, *, single_file: bool) -> ScanView | None:
    """The scan view of this folder; None without the viewer or without volumes. Puts the viewer beside the page."""
    found, paths = viewer(), dict(_volume_paths(out, outcome))
    if found is None or not paths:
        return None
    if not single_file:
        copy_viewer(out / "report", found)
    labels = [{"number": x.number, "name": x.name, "color": x.color} for x in outcome.labels]
    volumes = [(outcome.scans[place].name, as_json(path)) for place, path in paths.items() if single_file]
    notes = json.dumps(_notes(outcome, frozenset(paths)))
    return ScanView(
        found, frozenset(paths), json.dumps(labels), notes, command_of(outcome.facts), tuple(volumes), single_file
    )


def _volume_paths(out: Path, outcome: Outcome) -> Iterator[tuple[int, Path]]:
    """Place of every scan that has volumes, and where they lie."""
    for place, scan in enumerate(outcome.scans):
        path = volume_path(out, scan.name) if scan.is_done else None
        if path is not None:
            yield place, path


def _notes(outcome: Outcome, places: frozenset[int]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for place, flag in flagged(outcome):
        if place in places:
            notes.setdefault(outcome.scans[place].name, []).append(str(flag))
    return notes
