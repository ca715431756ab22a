"""`medseg evaluate`: a table on the terminal, every number in a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from medseg.evaluation.evaluate import evaluate_folders
from medseg.evaluation.scores import write_metrics


def evaluate_and_print(
    predictions: Path, truths: Path, out: Path, *, mapping: Literal["one", "many"] = "one", per_case: bool = False
) -> int:
    """Score label maps below `predictions` by those below `truths` and write `out`; 1 if a case has no score."""
    result = evaluate_folders(predictions, truths, how=mapping, per_scan=per_case)
    write_metrics(result, out)
    table = Table(box=None, header_style="bold")
    for column in ("scan", *(f"Dice of class {value}" for value in result.dice_of_classes), "mean", "NMI", "ARI"):
        table.add_column(column, overflow="fold")
    for scan in result.scans:
        dice = [f"{metrics.dice:.3f}" for metrics in scan.classes.values()]
        table.add_row(scan.name, *dice, f"{scan.dice:.3f}", f"{scan.mutual_information:.3f}", f"{scan.rand_index:.3f}")
    means = [f"{value:.3f}" for value in result.dice_of_classes.values()]
    table.add_row("mean", *means, f"{result.dice:.3f}", "", "", style="bold")
    console = Console()
    console.print(table)
    how = "one mapping a scan" if per_case else "one mapping for all scans"
    labels = ", ".join(f"{label} is class {value}" for label, value in result.label_to_class.items())
    console.print(f"{result.n_labels} labels, {how}" + ("" if per_case else f": {labels}"), highlight=False)
    for case in result.unscored:
        console.print(f"{case.name} has no score: {case.reason}", highlight=False, markup=False)
    if result.unscored:
        n_all = len(result.scans) + len(result.unscored)
        console.print(f"the means are those of {len(result.scans)} of {n_all} cases", style="bold", highlight=False)
    console.print(f"all figures: {out}", highlight=False)
    return 1 if result.unscored else 0
