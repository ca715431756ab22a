"""`medseg report`: the page again."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_finding, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "report", "write report.html and its pictures again")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that `run` or `segment` wrote")
    parser.add_argument("--single-file", action="store_true", help="viewer and volumes inside the page, to hand it on")
    parser.add_argument("--scans", type=Path, metavar="SCANS", help="give the viewer the scans that it lacks")
    parser.add_argument("--ratings", type=Path, metavar="ratings.csv", help="keep the ratings that the page saved")
    add_finding(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report again."""
    from medseg.batch.progress import say
    from medseg.cli.report import add_viewer_volumes, take_ratings, write_report
    from medseg.cli.scans import found

    if args.ratings is not None:
        take_ratings(args.out, args.ratings)
    if args.scans is not None:
        add_viewer_volumes(args.out, found(args))
    say(f"report: {write_report(args.out, single_file=args.single_file)}")
    return 0
