"""`medseg label MODEL`: the labels as a table in the terminal, with what may be suggested."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medseg.labels.table import Label
from medseg.model.marker import read_labels_of


def print_labels(folder: Path, console: Console | None = None) -> None:
    """Number, colour, name, intensity, typical volume and suggestion of every label, and where the pictures are."""
    console = console or (Console() if sys.stdout.isatty() else Console(width=160))
    model = read_labels_of(folder)
    suggestions = model.suggestions
    unit = "HU" if model.plan.modality == "CT" else "0 to 1"
    table = Table(box=None, header_style="bold")
    sizes = (f"mean intensity, {unit}", "typical volume, ml", "found again")
    for title in ("label", "colour", "name", *sizes, "code", "suggestion"):
        table.add_column(title, overflow="fold", justify="right" if "," in title else "left")
    for label in model.labels:
        table.add_row(
            str(label.number),
            _color(label, console),
            Text(label.name),
            "-" if label.mean_intensity is None else f"{label.mean_intensity:.3g}",
            "-" if label.volume_ml is None else f"{label.volume_ml:.1f}",
            "-" if label.stability is None else f"{label.stability:.2f}",
            Text("-" if label.code is None else f"{label.code.value} {label.code.meaning}"),
            f"{suggestions[label.number]}?" if label.number in suggestions else "",
        )
    console.print(table)
    has_page = (folder.resolve().parent / "report.html").is_file()
    where = "beside the model folder" if has_page else "of a folder that `medseg segment` wrote"
    console.print(f"A picture of each label: report.html {where}", highlight=False)
    takes = "--accept takes the suggestions; " if suggestions else ""
    console.print(f'Name them: medseg label MODEL --name 3="white matter", or --from labels.yaml; {takes}'
                  "--code 3=VALUE:MEANING adds a code", highlight=False)  # fmt: skip


def _color(label: Label, console: Console) -> Text:
    """The colour itself where the terminal has colours, its numbers elsewhere."""
    if console.is_terminal and console.color_system:
        return Text("██", style="rgb({},{},{})".format(*label.color))
    return Text(",".join(map(str, label.color)))
