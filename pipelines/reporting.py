"""`medseg report`: one page with every scan's mosaic, its volumes, and why a scan was refused."""

from __future__ import annotations

import csv
import html
from pathlib import Path
from urllib.parse import quote

from medseg.errors import ConfigError
from medseg.io.atomic import write_text_whole

_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1500px;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.25rem .7rem;text-align:left}
tr:nth-child(even){background:#8881}img{max-width:100%;background:#000}figure{margin:1.5rem 0}.bad{color:#c33}
"""


def write_report(out: Path) -> Path:
    """Write ``report.html`` from the manifest and the mosaics that lie in `out`.

    Raises:
        ConfigError: there is no manifest.
    """
    try:
        text = (out / "manifest.csv").read_text("utf-8")
    except OSError:
        raise ConfigError(f"{out}: found no manifest.csv, expected a folder that `medseg segment` wrote") from None
    header, *rows = list(csv.reader(text.splitlines()))
    table = _table(header, rows)
    pictures = "".join(_figure(out, row[0]) for row in rows if row[1] == "done")
    n_done = sum(row[1] == "done" for row in rows)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>medseg report</title><style>{_STYLE}</style><h1>medseg report</h1>"
        f"<p>{n_done} of {len(rows)} scans segmented. Label volumes in mm&sup3;. "
        "Not a medical device; look at the pictures before you trust a label.</p>"
        f"{table}{pictures}</html>\n"
    )
    write_text_whole(out / "report.html", page)
    return out / "report.html"


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = ""
    for row in rows:
        kind = "" if row[1] == "done" else ' class="bad"'
        body += f"<tr{kind}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(out: Path, scan: str) -> str:
    if not (out / "report" / f"{scan}.png").is_file():
        return ""
    name = html.escape(scan)
    picture = f'<img src="report/{quote(scan)}.png" alt="{name}" loading="lazy">'
    return f"<figure>{picture}<figcaption>{name}</figcaption></figure>"
