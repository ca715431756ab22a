"""The table of labels: what each one looks like, what is known of it, how its volume is spread over the scans."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from medseg.labels.suggestions import suggest_names
from medseg.labels.table import Label
from medseg.report.drawing import ml, swatch, volume_strip
from medseg.report.location import NOTE, where_of
from medseg.report.markup import Cell, column, number_cell, row, table, text_cell
from medseg.report.outcome import Outcome
from medseg.report.outliers import Odd
from medseg.report.thumbnails import label_alone, mosaic_of

_TRIES = 5


def labels_table(out: Path, outcome: Outcome, odd: dict[tuple[int, int], Odd]) -> str:
    """One row per label; columns that nothing is known for are left out."""
    knows_intensity = any(label.mean_intensity is not None for label in outcome.labels)
    knows_code = any(label.code is not None for label in outcome.labels)
    columns = [column("label"), column("number", "number"), column("alone", sorts=False)]
    columns += [column(_intensity_title(outcome), "number")] if knows_intensity else []
    columns += [column("typical volume, ml", "number"), column("volume of every scan", sorts=False)]
    where = where_of(out)
    columns += [column("where in the body", sorts=False)] if where else []
    columns += [column("code")] if knows_code else []
    rows, suggested = [], suggestions_of(outcome)
    for label in outcome.labels:
        cells = [Cell(f"{swatch(label.color)}{escape(label.name)}{_suggestion(suggested, label)}", label.name),
                 number_cell(label.number, str(label.number)), _alone(out, outcome, label)]  # fmt: skip
        cells += [number_cell(label.mean_intensity, f"{label.mean_intensity or 0:.4g}")] if knows_intensity else []
        typical = _typical_ml(outcome, label)
        cells += [number_cell(typical, ml(typical or 0.0)), _strip(outcome, label, odd)]
        cells += [text_cell(where.get(label.number, ""), "why")] if where else []
        code = "" if label.code is None else f"{label.code.scheme} {label.code.value} {label.code.meaning}"
        cells += [text_cell(code)] if knows_code else []
        rows.append(row(cells))
    return table("Labels", columns, rows) + (NOTE if where else "") if rows else ""


def suggestions_of(outcome: Outcome) -> dict[int, str]:
    """What may be suggested for the labels that have no name yet, by number."""
    plan, config = outcome.facts.get("plan"), outcome.facts.get("config")
    clustering = config.get("clustering") if isinstance(config, dict) else None
    if not isinstance(plan, dict) or not isinstance(clustering, dict):
        return {}
    found = suggest_names(outcome.labels, modality=str(plan.get("modality")), method=str(clustering.get("method")),
                          n_clusters=int(clustering.get("n_clusters") or 0))  # fmt: skip
    return {x.number: found[x.number] for x in outcome.labels if x.number in found and x.name == f"label {x.number}"}


def _suggestion(suggested: dict[int, str], label: Label) -> str:
    name = suggested.get(label.number)
    return f'<br><span class="muted">suggestion: {escape(name)}</span>' if name else ""


def naming_form(outcome: Outcome) -> str:
    """Names and colours to be edited in the page and saved as ``labels.yaml``; nothing without labels."""
    suggested = suggestions_of(outcome)
    lines = []
    for label in outcome.labels:
        number, hint = label.number, suggested.get(label.number)
        color = "#{:02x}{:02x}{:02x}".format(*label.color)
        lines.append(
            f'<div class="bar"><span class="number">{number}</span>'
            f'<input type="color" data-number="{number}" data-field="color" value="{color}" '
            f'aria-label="colour of label {number}">'
            f'<input type="text" data-number="{number}" data-field="name" value="{escape(label.name)}" '
            f'aria-label="name of label {number}">'
            + (f'<span class="muted">suggestion: {escape(hint)}</span>' if hint else "")
            + "</div>\n"
        )
    return (
        '<details id="naming"><summary>Name the labels</summary>\n<p class="muted">Change names and colours and save; '
        f"then <code>medseg label MODEL --from labels.yaml</code> gives them to every output.</p>\n{''.join(lines)}"
        '<button type="button" class="save">save labels.yaml</button></details>\n'
        if lines
        else ""
    )


def _intensity_title(outcome: Outcome) -> str:
    plan = outcome.facts.get("plan")
    is_ct = isinstance(plan, dict) and plan.get("modality") == "CT"
    return "mean intensity, HU" if is_ct else "mean intensity, 0 to 1"


def _typical_ml(outcome: Outcome, label: Label) -> float | None:
    """Median over the scans of this run, else over those that the model was fitted to."""
    volumes = [volume for _, volume in outcome.volumes_ml(label.number)]
    return float(np.median(volumes)) if volumes else label.volume_ml


def _strip(outcome: Outcome, label: Label, odd: dict[tuple[int, int], Odd]) -> Cell:
    volumes = outcome.volumes_ml(label.number)
    names = [outcome.scans[place].name for place, _ in volumes]
    marks = [(place, label.number) in odd for place, _ in volumes]
    return Cell(volume_strip(names, [volume for _, volume in volumes], marks, label.color))


def _alone(out: Path, outcome: Outcome, label: Label) -> Cell:
    """The label in one of the scans that have most usual volumes of it."""
    typical = _typical_ml(outcome, label) or 0.0
    nearest = sorted(outcome.volumes_ml(label.number), key=lambda found: abs(found[1] - typical))
    for place, _ in nearest[:_TRIES]:
        mosaic = mosaic_of(out, outcome.scans[place].name)
        uri = label_alone(mosaic, label) if mosaic else ""
        if uri:
            alt = f"{label.name} alone, in {outcome.scans[place].name}"
            return Cell(
                f'<img class="alone" width="112" height="112" decoding="async" alt="{escape(alt)}" src="{uri}">'
            )
    return Cell("")
