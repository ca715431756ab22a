"""`medseg export`: the encoder as a MONAI bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "export", "write the trained encoder as a MONAI bundle that runs without medseg")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="bundle folder to write")


def run(args: argparse.Namespace) -> int:
    """Write the trained encoder as a MONAI bundle."""
    from medseg.batch.progress import say
    from medseg.model.bundle import write_bundle
    from medseg.model.model import Model

    write_bundle(Model.load(args.model, device="cpu"), args.out)
    say(f"bundle: {args.out}")
    return 0
