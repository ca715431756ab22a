"""The page of a run: one HTML file that needs no network, with everything that people want to know of it first."""

from __future__ import annotations

from collections import Counter
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from medseg.report.confidence import confidence_note
from medseg.report.drawing import ml
from medseg.report.facts import facts_list
from medseg.report.labels import labels_table, naming_form
from medseg.report.markup import Cell, column, number_cell, row, section, source_hash, table, text_cell
from medseg.report.outcome import Outcome, ScanRow
from medseg.report.outliers import Odd, flagged, odd_shares
from medseg.report.thumbnails import mosaic_of, thumbnail
from medseg.report.training import training_section
from medseg.report.viewer import GET_IT, ScanView, dialog, scan_view, scripts, view_button

MAX_PICTURES_BYTES = 40_000_000
"""Beyond this a scan has a link in place of its small picture, so that the page still opens."""


def render_page(out: Path, outcome: Outcome, *, single_file: bool = False) -> str:
    """The whole page; pictures come from the mosaics below `out`.

    Args:
        single_file: the viewer and its volumes stand inside the page rather than beside it, and nothing is linked.
    """
    odd = odd_shares(outcome)
    view = scan_view(out, outcome, single_file=single_file)
    style, script = (files("medseg.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src {source_hash(style)}; script-src {source_hash(script)}"
    )
    policy += view.sources() if view else ""
    parts = (
        section("refused", "Not segmented", _refused(outcome)),
        section("odd", "Look at these first", _look_first(outcome)),
        section("labels", "Labels", labels_table(out, outcome, odd) + naming_form(outcome)),
        section("scans", "All scans", _scans(out, outcome, odd, view)),
        section("training", "Training", training_section(out, outcome)),
        section("run", "This run", facts_list(outcome.facts)),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>medseg report</title>'
        f'<style>{style}</style></head>\n<body><a class="skip" href="#scans">To all scans</a><main>\n'
        f"<h1>medseg report</h1>\n{_summary(outcome)}{''.join(parts)}</main>\n"
        '<footer class="muted">Not a medical device. For research.</footer>\n'
        f"{dialog(view, outcome, _notes(outcome)) if view else ''}<script>{script}</script>"
        f"{scripts(view, out, outcome) if view else ''}</body></html>\n"
    )


def _summary(outcome: Outcome) -> str:
    counts = Counter(scan.status for scan in outcome.scans)
    n_odd = sum(bool(scan.flags) for scan in outcome.scans)
    items = [f"<li><b>{counts['done']}</b> segmented</li>"]
    items += [f'<li class="bad"><b>{counts[s]}</b> {escape(s)}</li>' for s in sorted(counts) if s != "done"]
    items += [f'<li class="odd"><b>{n_odd}</b> unlike the training scans</li>'] if n_odd else []
    items.append(f"<li><b>{len(outcome.labels)}</b> labels</li>")
    scans = "scan" if len(outcome.scans) == 1 else "scans"
    return (
        f"<p>{counts['done']} of {len(outcome.scans)} {scans} segmented. Labels were found without examples: "
        f'look at the pictures before you trust one.</p>\n<ul class="counts">{"".join(items)}</ul>\n'
    )


def _refused(outcome: Outcome) -> str:
    rows = [
        row([text_cell(scan.name), _why(scan), text_cell(scan.status)], anchor=f"scan-{place}")
        for place, scan in enumerate(outcome.scans)
        if not scan.is_done
    ]
    columns = [column(title) for title in ("scan", "why", "status")]
    return table("Scans that were not segmented", columns, rows) if rows else ""


def _why(scan: ScanRow) -> Cell:
    """Code and sentence, without the name that its row has already."""
    sentence = scan.reason.removeprefix(f"{scan.name}: ")
    code = f"<b>{escape(scan.code)}</b> " if scan.code else ""
    return Cell(f"{code}{escape(sentence)}", f"{scan.code} {sentence}".strip(), "why")


def _notes(outcome: Outcome) -> dict[int, list[str]]:
    """What the scan view says of each scan that is unlike the training scans."""
    notes: dict[int, list[str]] = {}
    for place, flag in flagged(outcome):
        notes.setdefault(place, []).append(flag)
    return notes


def _look_first(outcome: Outcome) -> str:
    items = "".join(
        f'<li><a href="#scan-{place}">{escape(outcome.scans[place].name)}</a>: {escape(flag)}</li>\n'
        for place, flag in flagged(outcome)
    )
    said = (
        '<p class="muted">Further from the training scans than 19 of 20 good scans would be (docs/quality_control.md). '
        "Labels are there all the same.</p>\n"
    )
    return f'{said}<ul class="look">{items}</ul>' if items else ""


def _scans(out: Path, outcome: Outcome, odd: dict[tuple[int, int], Odd], view: ScanView | None) -> str:
    columns = [column("scan"), column("status"), column("picture", sorts=False)]
    columns += [column(f"{label.name}, ml", "number") for label in outcome.labels]
    columns += [column("seconds", "number"), column("memory, MB", "number")]
    left, rows = MAX_PICTURES_BYTES, []
    for place, scan in enumerate(outcome.scans):
        picture = _picture(out, scan, with_image=left > 0, linked=view is None or not view.is_inline)
        left -= len(picture.html)
        picture = Cell(picture.html + view_button(view, place, scan.name))
        volumes = [_volume(scan, label.number, odd.get((place, label.number))) for label in outcome.labels]
        cells = [text_cell(scan.name), text_cell(scan.status), picture, *volumes,
                 number_cell(scan.seconds, f"{scan.seconds or 0:.1f}"),
                 number_cell(scan.memory_mb, f"{scan.memory_mb or 0:.0f}")]  # fmt: skip
        rows.append(row(cells, kind="" if scan.is_done else "bad", anchor=f"scan-{place}" if scan.is_done else ""))
    notes = ("" if view else GET_IT) + confidence_note(out, outcome)
    return notes + table("All scans", columns, rows)


def _volume(scan: ScanRow, number: int, odd: Odd | None) -> Cell:
    volume = scan.volumes_ml.get(number)
    if volume is None or odd is None:
        return number_cell(volume, ml(volume or 0.0))
    side, sign = ("more", "▲") if odd.is_more else ("less", "▼")
    mark = f'<span aria-hidden="true">{sign} </span>{ml(volume)}<span class="hidden"> (far {side} than others)</span>'
    return Cell(mark, f"{volume:.6g}", "number odd")


def _picture(out: Path, scan: ScanRow, *, with_image: bool, linked: bool) -> Cell:
    mosaic = mosaic_of(out, scan.name) if scan.is_done else None
    if mosaic is None:
        return Cell("")
    uri = thumbnail(mosaic) if with_image else ""
    name = escape(scan.name)
    image = (
        '<img class="thumb" width="264" height="88" loading="lazy" decoding="async" '
        f'alt="labels of {name}" src="{uri}">'
    )
    shown = image if uri else f"picture of {name}"
    if not linked:
        return Cell(image if uri else "")
    return Cell(f'<a href="report/{quote(scan.name)}.png" title="open the full picture">{shown}</a>')
