"""`medseg describe`: what a model has learned."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "describe", "print the labels of a model and the tree that --cut cuts")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")


def run(args: argparse.Namespace) -> int:
    """Print what a model has learned."""
    from medseg.model.summary import Summary

    found = Summary.read(args.model)
    print(found.text())
    print(found.scheme.tree_text())
    return 0
