"""`medseg inspect`: every scan with its verdict, its geometry."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_scans, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "inspect", "list every scan found and whether it can be used")
    add_scans(parser)
    parser.add_argument("--show-descriptions", action="store_true", help="show SeriesDescription and ProtocolName too: "
                        "people type them, and names of patients may be among them")  # fmt: skip
    parser.add_argument("--masks", type=Path, metavar="DIR", help="say which mask below DIR each scan has")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a list of objects for programs")


def run(args: argparse.Namespace) -> int:
    """Print every scan with its verdict."""
    from medseg.cli.inspect import as_json, print_table
    from medseg.cli.inspect_masks import masks_for
    from medseg.cli.masks import masks_folder
    from medseg.cli.scans import found

    folder, scans = masks_folder(args), found(args)
    masks = None if folder is None else masks_for(scans, folder)
    if args.json:
        print(as_json(scans, masks, show_descriptions=args.show_descriptions))
    else:
        print_table(scans, masks=masks, show_descriptions=args.show_descriptions)
    has_all = all(mask.name for mask in (masks or {}).values())
    return 0 if has_all and all(scan.is_ok or scan.is_bystander for scan in scans) else 1
