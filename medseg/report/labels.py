"""The table of labels: what each one looks like, what is known of it, how its volume is spread over the scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.labels.suggestions import suggest_names
from medseg.labels.table import Label
from medseg.report.drawing import Strip, volume_strip
from medseg.report.folder import slices_of
from medseg.report.location import where_of
from medseg.report.outcome import Outcome
from medseg.report.outliers import Odd
from medseg.report.thumbnails import label_alone

_TRIES = 5


@dataclass(frozen=True)
class LabelRow:
    """A label and what is known of it.

    Attributes:
        suggestion: a name for it, while it has none; else empty.
        picture: data URI of the label alone; empty when no slice shows it.
        pictured: name of the scan in the picture.
        typical_ml: median volume; None when it is not known.
        where: where in the body it lies, in words; empty when it is not known.
    """

    label: Label
    suggestion: str
    picture: str
    pictured: str
    typical_ml: float | None
    strip: Strip | None
    where: str


def label_rows(out: Path, outcome: Outcome, odd: Mapping[tuple[int, int], Odd]) -> list[LabelRow]:
    """One row per label.

    Args:
        odd: unusual volumes, by (place of the scan, label number).
    """
    suggested, where = suggestions_of(outcome), where_of(out)
    rows = []
    for label in outcome.labels:
        picture, pictured = _alone(out, outcome, label)
        rows.append(LabelRow(
            label, suggested.get(label.number, ""), picture, pictured, _typical_ml(outcome, label),
            _strip(outcome, label, odd), where.get(label.number, ""),
        ))  # fmt: skip
    return rows


def suggestions_of(outcome: Outcome) -> dict[int, str]:
    """What may be suggested for the labels that have no name yet, by number."""
    plan, config = outcome.facts.get("plan"), outcome.facts.get("config")
    clustering = config.get("clustering") if isinstance(config, dict) else None
    if not isinstance(plan, dict) or not isinstance(clustering, dict):
        return {}
    found = suggest_names(outcome.labels, modality=str(plan.get("modality")), method=str(clustering.get("method")),
                          n_clusters=int(clustering.get("n_clusters") or 0))  # fmt: skip
    return {x.number: found[x.number] for x in outcome.labels if x.number in found and not x.is_named}


def intensity_unit(outcome: Outcome) -> str:
    """Unit of the labels' mean intensity."""
    plan = outcome.facts.get("plan")
    return "HU" if isinstance(plan, dict) and plan.get("modality") == "CT" else "0 to 1"


def _typical_ml(outcome: Outcome, label: Label) -> float | None:
    """Median over the scans of this run, else over those that the model was fitted to."""
    volumes = [volume for _, volume in outcome.volumes_ml(label.number)]
    return float(np.median(volumes)) if volumes else label.volume_ml


def _strip(outcome: Outcome, label: Label, odd: Mapping[tuple[int, int], Odd]) -> Strip | None:
    volumes = outcome.volumes_ml(label.number)
    names = [outcome.scans[place].name for place, _ in volumes]
    return volume_strip(
        names, [volume for _, volume in volumes], [(place, label.number) in odd for place, _ in volumes]
    )


def _alone(out: Path, outcome: Outcome, label: Label) -> tuple[str, str]:
    """A picture of the label in one of the scans that have most usual volumes of it, and the scan; empty without."""
    typical = _typical_ml(outcome, label) or 0.0
    nearest = sorted(outcome.volumes_ml(label.number), key=lambda found: abs(found[1] - typical))
    for place, _ in nearest[:_TRIES]:
        scan = outcome.scans[place].name
        slices = slices_of(out, scan)
        picture = label_alone(slices, label) if slices else ""
        if picture:
            return picture, scan
    return "", ""
