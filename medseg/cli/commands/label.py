"""`medseg label`: names, colours, codes, merges and cuts of labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.cli.flags import Commands, command, count

if TYPE_CHECKING:
    from medseg.cli.label import Changes


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "label", "show the labels of a model; name, colour, merge them and rewrite its outputs")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    parser.add_argument("--name", action="append", default=[], metavar='3="white matter"', help="name of a label")
    parser.add_argument("--color", action="append", default=[], metavar="3=R,G,B", help="0 to 255 each")
    parser.add_argument("--code", action="append", default=[], metavar="3=VALUE:MEANING", help="SNOMED CT code")
    parser.add_argument("--merge", action="append", default=[], metavar="4,5", help="5 becomes part of 4")
    parser.add_argument("--accept", action="store_true", help="take the suggestions: name, colour and SNOMED CT code")
    parser.add_argument("--from", dest="source", type=Path, metavar="labels.yaml", help="all of these from a file, "
                        "such as the one that report.html saves")  # fmt: skip
    parser.add_argument("--save", type=Path, metavar="labels.yaml", help="keep names, colours, codes and merges")
    parser.add_argument("--cut", type=count, metavar="N", help="labels that the hierarchy is cut to, 2 to 32")
    parser.add_argument("--out", type=Path, action="append", default=[], metavar="OUT",
                        help="outputs to rewrite (default: the folder that `run` made around MODEL)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Name, colour and merge labels; without a change, show them."""
    from medseg.batch.progress import say
    from medseg.cli.label import Changes
    from medseg.cli.label_file import read_label_file, write_label_file
    from medseg.cli.label_list import print_labels

    changes = Changes.parse(names=args.name, colors=args.color, codes=args.code, merges=args.merge, cut=args.cut)
    if args.source is not None:
        changes = read_label_file(args.source).followed_by(changes)
    code = _change(args, changes) if args.accept or not changes.is_empty else 0
    print_labels(args.model)
    if args.save is not None:
        from medseg.model.model import Model

        write_label_file(Model.load(args.model, device="cpu"), args.save)
        say(f"labels: {args.save}")
    return code


def _change(args: argparse.Namespace, changes: Changes) -> int:
    from medseg.cli.label_accept import accepted
    from medseg.cli.label_rewrite import relabel
    from medseg.model.model import Model

    if args.accept:
        changes = accepted(changes.apply(Model.load(args.model, device="cpu"))).followed_by(changes)
    return 0 if changes.is_empty else int(relabel(args.model, changes, outputs=args.out))
