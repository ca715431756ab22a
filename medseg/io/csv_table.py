"""CSV files that a spreadsheet opens as what they are: names of strangers in them are text, one row is one line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.io.atomic import write_text_whole
from medseg.io.names import safe_text

_FORMULA = ("=", "+", "-", "@")
"""How a cell begins that spreadsheets compute (OWASP, "CSV injection")."""


def write_csv(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write rows, the first of them the names of the columns; text that would be computed gets a ``'`` before it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    write_text_whole(path, text.getvalue())


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    plain = safe_text(value)
    return f"'{plain}" if plain.lstrip().startswith(_FORMULA) and not _is_number(plain) else plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
