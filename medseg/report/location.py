"""Where in the body each label lies, for the label table: from ``places.csv``."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from medseg.labels.location import NAMES, in_words

NOTE = (
    "Where: by the axes of each scan's own patient space, relative to the box around all labels and to their outer "
    "surface, on average over the scans; no anatomy is known."
)


def where_of(out: Path) -> dict[int, str]:
    """Words by label number; empty for folders of versions that wrote no places."""
    try:
        rows = list(csv.DictReader(io.StringIO((out / "places.csv").read_text("utf-8"), newline="")))
    except (OSError, UnicodeError, csv.Error):
        return {}
    found: dict[int, list[dict[str, float]]] = {}
    for row in rows:
        try:
            place = {name: float(row[name]) for name in NAMES}
            number = int(row["label"])
        except (KeyError, TypeError, ValueError):
            continue
        if all(map(math.isfinite, place.values())):
            found.setdefault(number, []).append(place)
    return {number: in_words(places) for number, places in found.items()}
