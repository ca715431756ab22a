"""The table of a run: Markdown and CSV, and pictures of the worst and the median scan of each part."""

from __future__ import annotations

import csv
import io
import os
import platform
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.scoring import Row
from medseg.io.atomic import write_text_whole

COLUMNS = (
    "part", "method", "setting", "seed", "K", "fitted on", "scored on", "Dice by class", "mean", "median", "worst",
    "fit s", "s a scan", "peak GB",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """The columns of one row; scans that their model was fitted on are marked with a star."""
    ranked = row.ranked()
    scored = [name + ("*" if name in row.seen else "") for name in (scan.name for scan in row.scans)]
    classes = " ".join(f"{c}: {dice:.4f}" for c, dice in row.classes.items())
    return [
        row.part,
        row.method,
        row.setting,
        str(row.seed),
        str(row.n_labels),
        " ".join(row.fitted_on) or "-",
        " ".join(dict.fromkeys(scored)),
        classes,
        f"{row.dice:.4f}",
        f"{float(np.median([scan.dice for scan in ranked])):.4f}",
        f"{ranked[0].dice:.4f} ({ranked[0].name})",
        f"{np.mean(row.costs.fits):.0f}" if row.costs.fits else "-",
        f"{np.mean(row.costs.scans):.1f}",
        f"{row.costs.peak_gb:.1f}",
    ]


def write(rows: Sequence[Row], out: Path) -> None:
    """`table.md` and `table.csv` with one row each, `cases.csv` with one row a scan and class."""
    lines = [
        f"{machine()}. * marks scans in the fit of their model. Peers: a mapping of their own for each scan.",
        "",
    ]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    write_text_whole(out / "table.md", "\n".join(lines) + "\n")
    _write_csv(out / "table.csv", [COLUMNS, *map(cells, rows)])
    cases: list[Sequence[object]] = [("part", "method", "setting", "seed", "scan", "class", "dice")]
    for row in rows:
        for scan in row.scans:
            cases += [
                (row.part, row.method, row.setting, row.seed, scan.name, c, f"{m.dice:.4f}")
                for c, m in scan.classes.items()
            ]
    _write_csv(out / "cases.csv", cases)


def keep_pictures(row: Row, out: Path) -> None:
    """Copy the mosaics of the worst and the median scan of one of medseg's rows."""
    ranked = row.ranked()
    for which, scan in (("worst", ranked[0]), ("median", ranked[len(ranked) // 2])):
        source = out / row.part / row.method / f"seed{row.seed}" / f"{scan.name}.png"
        if source.exists():
            (out / "pictures").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, out / "pictures" / f"{row.part}_{which}.png")


def machine() -> str:
    """What the figures were taken on."""
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}{load}"


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text_whole(path, text.getvalue())
