"""The scan view of the page: three planes and 3-D of one scan, its labels, what is odd about it, how it was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from medseg.report.confidence import COLORS, confidence_bar
from medseg.report.facts import command_of
from medseg.report.markup import source_hash
from medseg.report.niivue import Viewer, copy_viewer, viewer
from medseg.report.outcome import Outcome
from medseg.report.viewer_volumes import FOLDER, as_json, volume_path

GET_IT = (
    '<p class="muted">No interactive viewer: <code>pip install "medseg[report]"</code>, then '
    "<code>medseg report OUT --scans SCANS</code>.</p>\n"
)
_SLICES = (("planes and 3-D", "3"), ("axial", "0"), ("coronal", "1"), ("sagittal", "2"), ("3-D", "4"))


@dataclass(frozen=True)
class ScanView:
    """What the page needs for its scan view.

    Attributes:
        places: of the scans that have volumes.
        is_inline: whether viewer and volumes stand inside the page rather than in files beside it.
    """

    viewer: Viewer
    places: frozenset[int]
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
    found = viewer()
    places = frozenset(
        place for place, scan in enumerate(outcome.scans) if scan.is_done and volume_path(out, scan.name) is not None
    )
    if found is None or not places:
        return None
    if not single_file:
        copy_viewer(out / "report", found)
    return ScanView(found, places, single_file)


def view_button(view: ScanView | None, place: int, name: str) -> str:
    """The button that opens the scan; nothing when it has no volumes."""
    if view is None or place not in view.places:
        return ""
    source = "" if view.is_inline else f' data-source="report/{FOLDER}/{escape(quote(name))}.js"'
    return (
        f'<button type="button" class="view" data-scan="{escape(name)}"{source}>'
        f'view<span class="hidden"> {escape(name)}</span></button>'
    )


def dialog(view: ScanView, outcome: Outcome, notes: dict[int, list[str]]) -> str:
    """The scan view, closed.

    Args:
        notes: what is to be said of a scan, by its place.
    """
    labels = [{"number": x.number, "name": x.name, "color": x.color} for x in outcome.labels]
    said = {outcome.scans[place].name: texts for place, texts in notes.items() if place in view.places}
    slices = "".join(
        f'<label><input type="radio" name="slices" value="{value}"{" checked" if value == "3" else ""}> {text}</label>'
        for text, value in _SLICES
    )
    command = command_of(outcome.facts)
    made = f'<p class="muted">Made by <code>{escape(command)}</code></p>' if command else ""
    return (
        f'<dialog id="viewer" aria-labelledby="viewer-title" data-labels="{escape(json.dumps(labels))}" '
        f'data-notes="{escape(json.dumps(said))}" data-confidence="{json.dumps(COLORS)}">\n'
        '<div class="bar"><h2 id="viewer-title">scan</h2>'
        '<button type="button" id="viewer-close">close</button></div>\n'
        f'<div class="bar"><fieldset><legend>show</legend>{slices}</fieldset>\n'
        '<label><input type="checkbox" id="viewer-labels" checked> labels</label>\n'
        '<span id="viewer-sure" hidden><label><input type="checkbox" id="viewer-confidence"> confidence</label> '
        f'<span class="muted">0</span> {confidence_bar()} <span class="muted">1</span></span>\n'
        '<label>opacity <input type="range" id="viewer-opacity" min="0" max="1" step="0.05" value="0.5"></label>'
        "</div>\n"
        '<div class="stage"><canvas id="viewer-canvas" tabindex="0" aria-label="Scan with its labels; '
        'the keys h, l, j, k and control with u or d move the crosshair"></canvas></div>\n'
        '<p class="bar"><output id="viewer-label">Move over the scan to see what a label is called.</output></p>\n'
        f'<div id="viewer-legend" class="bar"></div>\n<ul id="viewer-notes" class="odd-notes"></ul>\n{made}</dialog>\n'
    )


def scripts(view: ScanView, out: Path, outcome: Outcome) -> str:
    """The scripts of the scan view; with everything inside the page, the viewer and the volumes too."""
    parts = [f"<script>{view.script}</script>"]
    if view.is_inline:
        parts.append(f"<script>{view.viewer.script}</script>")
        parts.append(f'<script type="text/plain" id="niivue-licence">{escape(view.viewer.licence)}</script>')
        for place in sorted(view.places):
            path = volume_path(out, outcome.scans[place].name)
            if path is not None:
                name = escape(outcome.scans[place].name)
                parts.append(f'<script type="application/json" data-volume="{name}">{as_json(path)}</script>')
    return "\n".join(parts)
