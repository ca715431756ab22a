"""`medseg figure`: chosen slices of one scan with its labels, for papers."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_finding, command, count, positive


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "figure", "draw chosen slices of one scan with its labels, for a paper")
    parser.add_argument("results", type=Path, metavar="OUT", help="folder that `run` or `segment` wrote")
    parser.add_argument("--scan", required=True, metavar="ID", help="scan, as manifest.csv names it")
    parser.add_argument("--scans", type=Path, required=True, metavar="SCANS", help="where the scans are")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="figure to write, .png or .svg")
    parser.add_argument("--plane", choices=["axial", "coronal", "sagittal"], default="",
                        help="default: that of thick slices, else axial")  # fmt: skip
    parser.add_argument(
        "--at", type=_places, default=(), metavar="MM,MM", help="places of the slices in RAS+ mm, such as --at=-20,5"
    )
    parser.add_argument("--slices", type=count, default=5, metavar="N", help="slices where --at is not given")
    parser.add_argument(
        "--width", type=positive, default=180.0, metavar="MM", help="width of the figure (default: 180)"
    )
    parser.add_argument("--dpi", type=count, default=300, metavar="N", help="pixels an inch (default: 300)")
    parser.add_argument("--background", choices=["white", "black"], default="white", help="colour around the slices")
    parser.add_argument("--outlines", action="store_true", help="borders of labels in place of filled areas")
    parser.add_argument("--labels-only", action="store_true", help="no row of the scan without labels")
    parser.add_argument("--labels", type=_numbers, default=(), metavar="N,N", help="only these labels")
    parser.add_argument("--surfaces", action="store_true", help="the labels in three dimensions instead, .png")
    add_finding(parser)


def run(args: argparse.Namespace) -> int:
    """Draw the figure."""
    from medseg.batch.progress import say
    from medseg.cli.figure import shown_scan
    from medseg.cli.scans import found
    from medseg.errors import ConfigError
    from medseg.labels.table import LabelTable
    from medseg.report.figure import Look, draw_figure
    from medseg.report.surface import draw_surfaces
    from medseg.spatial.geometry import Geometry

    if not 1 <= args.slices <= 20 or not 20 <= args.dpi <= 2400 or not 20 <= args.width <= 1000:
        raise ConfigError("expected 1 to 20 --slices, --dpi 20 to 2400 and --width 20 to 1000")
    shown = shown_scan(args.results, args.scan, found(args))
    table = shown.table
    if args.labels:
        table = LabelTable(labels=tuple(label for label in table if label.number in args.labels))
    if args.surfaces:
        side = round(args.width / 25.4 * args.dpi)
        draw_surfaces(shown.labels, Geometry.of(shown.image), list(table), args.out, side=side,
                      background=args.background)  # fmt: skip
        say(f"figure: {args.out}")
        return 0
    look = Look(
        args.plane, args.at, args.slices, args.width, args.dpi, args.background, args.outlines, args.labels_only
    )
    draw_figure(shown.image, shown.labels, table, look, args.out)
    say(f"figure: {args.out}")
    return 0


def _places(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text}, expected numbers with commas between them") from None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(count(part) for part in text.split(","))
