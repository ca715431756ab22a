"""`medseg evaluate`: label maps beside references."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "evaluate", "compare label maps with references: Dice, surface distance, HD95, NMI, ARI")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="output folder, or label maps")
    parser.add_argument("truths", type=Path, metavar="TRUTHS", help="reference label maps, named after the scans")
    parser.add_argument("--out", type=Path, required=True, metavar="METRICS.csv", help="table to write")
    parser.add_argument("--mapping", choices=["one", "many"], default="one", help="labels per class (default: one)")
    parser.add_argument("--per-case", action="store_true", help="a mapping for each scan instead of the cohort's")


def run(args: argparse.Namespace) -> int:
    """Compare label maps with references."""
    from medseg.cli.evaluate import evaluate_and_print

    options = {"mapping": args.mapping, "per_case": args.per_case}
    return int(evaluate_and_print(args.predictions, args.truths, args.out, **options))
