"""`medseg convert`: scans as NIfTI files."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_scans, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "convert", "write scans as NIfTI files under medseg's names; done scans are skipped")
    add_scans(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--log-json", action="store_true", help="report progress as JSON lines on stderr")


def run(args: argparse.Namespace) -> int:
    """Write scans as NIfTI files."""
    from medseg.batch.convert_scans import convert_scans
    from medseg.batch.progress import say
    from medseg.cli.scans import scans_of
    from medseg.config import Config

    records = convert_scans(scans_of(args, Config()), args.out)
    n_done = sum(record.is_done for record in records)
    for record in records:
        if not record.is_done:
            say(f"{record.scan}: {record.status}: {record.why}")
    say(f"{n_done} of {len(records)} scans converted: {args.out}, listed in manifest.csv")
    return 0 if n_done == len(records) else 1
