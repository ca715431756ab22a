"""`medseg inspect`: every scan with its verdict, its geometry."""

from __future__ import annotations

import argparse

from medseg.cli.flags import Commands, add_scans, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "inspect", "list every scan found and whether it can be used")
    add_scans(parser)
    parser.add_argument("--show-descriptions", action="store_true", help="show SeriesDescription and ProtocolName too: "
                        "people type them, and names of patients may be among them")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a list of objects for programs")


def run(args: argparse.Namespace) -> int:
    """Print every scan with its verdict."""
    from medseg.cli.inspect import as_json, print_table
    from medseg.cli.scans import found

    scans = found(args)
    if args.json:
        print(as_json(scans, show_descriptions=args.show_descriptions))
    else:
        print_table(scans, show_descriptions=args.show_descriptions)
    return 0 if all(scan.is_ok or scan.is_bystander for scan in scans) else 1
