"""Writing the page of an output folder."""

from __future__ import annotations

from pathlib import Path

from medseg.io.atomic import write_text_whole
from medseg.report.outcome import read_outcome
from medseg.report.page import render_page


def write_report(out: Path, *, single_file: bool = False) -> Path:
    """Write ``report.html`` from the manifest, ``run.json``, the colour table and the mosaics that lie in `out`.

    Args:
        single_file: put the viewer and the volumes of every scan inside the page; nothing beside it is needed then.

    Raises:
        ConfigError: there is no manifest, or it is not one that medseg wrote.
    """
    write_text_whole(out / "report.html", render_page(out, read_outcome(out), single_file=single_file))
    return out / "report.html"
