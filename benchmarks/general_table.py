"""The table of `benchmarks.general` as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from benchmarks.general_rows import Summary, below_baseline
from benchmarks.table import machine
from medseg.io.atomic import write_text_whole

COLUMNS = (
    "set", "score", "K", "variant", "seeds", "mean", "worst", "k-means", "gmm", "to beat", "goal", "verdict",
    "least ARI", "numbers kept", "fit s", "s a scan", "details",
)  # fmt: skip


def cells(summary: Summary) -> list[str]:
    """The columns of one row."""
    row, rows = summary.first, summary.rows
    methods = [f"{row.baseline[name]:.4f}" if name in row.baseline else "-" for name in ("kmeans", "gmm")]
    beat, stability = summary.to_beat, summary.stability
    return [
        row.set,
        row.what,
        str(row.k),
        row.variant,
        " ".join(str(other.seed) for other in rows),
        f"{summary.mean:.4f}",
        f"{summary.worst:.4f}",
        *methods,
        f"{beat[1]:.4f} ({beat[0]})" if beat else "-",
        f"{'at most ' if row.goal.at_most else ''}{row.goal.value:g}",
        summary.verdict,
        f"{stability.least_ari:.4f}" if stability else "-",
        f"{stability.n_kept} of {stability.n_pairs}" if stability else "-",
        f"{sum(other.seconds_fit for other in rows) / len(rows):.0f}",
        f"{sum(other.seconds_scan for other in rows) / len(rows):.1f}",
        row.detail,
    ]


def line(values: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(values) + " |"


def markdown(found: Sequence[Summary], notes: Sequence[str]) -> str:
    """The whole table, with the machine and the notes above and a count below."""
    lines = [*notes, f"{machine()}.", "", line(COLUMNS), "|" + "---|" * len(COLUMNS)]
    lines += [line(cells(summary)) for summary in found]
    n_ok = sum(summary.first.goal.verdict(summary.mean) == "ok" for summary in found)
    count = f"{n_ok} of {len(found)} rows reach their goal, {len(below_baseline(found))} are below their baseline."
    return "\n".join([*lines, "", count]) + "\n"


def write(found: Sequence[Summary], notes: Sequence[str], out: Path) -> None:
    """`general.md` and `general.csv`."""
    write_text_whole(out / "general.md", markdown(found, notes))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *map(cells, found)])
    write_text_whole(out / "general.csv", text.getvalue())
