"""The few pieces of HTML that the page is made of; every text that comes from outside is escaped here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        html: what is shown, already markup.
        value: what the column is sorted by; empty goes last.
        kind: class of the cell.
    """

    html: str
    value: str = ""
    kind: str = ""


def text_cell(text: str, kind: str = "") -> Cell:
    """A cell that shows and sorts by its text."""
    return Cell(escape(text), text, kind)


def number_cell(value: float | None, shown: str, kind: str = "") -> Cell:
    """A cell that sorts by `value`; empty when there is none."""
    return Cell("", "", "number") if value is None else Cell(escape(shown), f"{value:.6g}", f"number {kind}".strip())


def column(title: str, kind: str = "text", *, sorts: bool = True) -> str:
    """A column head: a button when the column can be sorted."""
    name = escape(title)
    number = ' class="number"' if kind == "number" else ""
    inner = f'<button type="button">{name}</button>' if sorts else name
    return f'<th scope="col" data-kind="{kind}"{number}>{inner}</th>'


def row(cells: Sequence[Cell], *, kind: str = "", anchor: str = "") -> str:
    """A row whose first cell is its head."""
    parts = []
    for place, cell in enumerate(cells):
        tag = 'th scope="row"' if place == 0 else "td"
        css = f' class="{escape(cell.kind)}"' if cell.kind else ""
        parts.append(f'<{tag}{css} data-value="{escape(cell.value)}">{cell.html}</{tag[:2]}>')
    attributes = (f' class="{escape(kind)}"' if kind else "") + (f' id="{escape(anchor)}"' if anchor else "")
    return f"<tr{attributes}>{''.join(parts)}</tr>\n"


def table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls by itself where it is wider than the screen."""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0"><table>'
        f"<thead><tr>{''.join(columns)}</tr></thead><tbody>\n{''.join(rows)}</tbody></table></div>"
    )


def section(anchor: str, title: str, body: str) -> str:
    """A part of the page; nothing when it would be empty."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{body}\n</section>\n' if body else ""


def source_hash(text: str) -> str:
    """The hash by which a content security policy allows one inline style or script (W3C CSP level 3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
