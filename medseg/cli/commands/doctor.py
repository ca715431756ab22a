"""`medseg doctor`: whether everything is here that medseg needs."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "doctor", "say what this machine has: packages, GPU, codecs, memory, disk, other tools")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER",
                        help="where outputs would go (default: the working directory)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a list of objects for programs")


def run(args: argparse.Namespace) -> int:
    """Print every finding; 1 when something needed is missing."""
    from medseg.cli.doctor import as_json, examine, print_findings

    findings = examine(args.folder)
    if args.json:
        print(as_json(findings))
    else:
        print_findings(findings)
    return int(any(finding.is_missing for finding in findings))
