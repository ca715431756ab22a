"""A model in a few lines for people."""

from __future__ import annotations

from medseg.labels.table import Label
from medseg.model.state import ModelState


def summary_of(model: ModelState) -> str:
    """What it was fitted to, what was changed since, and a table of its labels."""
    plan, record = model.plan, model.record
    spacing = " x ".join(f"{s:g}" for s in plan.spacing_mm)
    n_scans = len(model.fingerprints)
    lines = [
        f"{len(model.table)} labels for {plan.modality}, found without labels in {n_scans} "
        f"scan{'' if n_scans == 1 else 's'} ({record.n_steps} steps of training, working grid {spacing} mm)"
    ]
    if model.config.training.ensemble > 1:
        lines.append(f"an ensemble of {model.config.training.ensemble} networks")
    if model.own.names:
        lines.append(f"own transforms first: {', '.join(model.own.names)}")
    if model.scheme.cut is not None:
        lines.append(f"the hierarchy is cut to {model.scheme.cut} labels")
    if model.scheme.merged:
        lines.append(
            "merged: " + ", ".join(f"{source} into {target}" for source, target in model.scheme.merged.items())
        )
    unit = "HU" if plan.window_hu is not None else "of 0 to 1"
    titles = ("label", "name", f"mean intensity ({unit})", "volume in a scan", "found again in halves")
    rows = [titles, *(_row(label) for label in model.table)]
    if all(label.stability is None for label in model.table):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if n == 1 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def _row(label: Label) -> tuple[str, ...]:
    intensity = "" if label.mean_intensity is None else f"{label.mean_intensity:.3g}"
    volume = "" if label.volume_ml is None else f"{label.volume_ml:.1f} ml"
    again = "" if label.stability is None else f"{label.stability:.2f}"
    return str(label.number), label.name, intensity, volume, again
