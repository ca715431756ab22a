"""`medseg stats`: volumes and intensities of labels without segmenting again."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_scans_again, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "stats", "measure the label maps of a folder again: volumes.csv, statistics.csv")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that `run` or `segment` wrote")
    add_scans_again(parser)
    parser.add_argument("--radiomics", action="store_true", help="also radiomics.csv: first-order and shape features "
                        "by the definitions of the IBSI")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure label maps again."""
    from medseg.cli.stats import measure_folder

    return measure_folder(args)
