"""`medseg slicer`: one file for 3D Slicer."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "slicer", "segment one NIfTI file as a module of 3D Slicer (see docs/slicer.md)")
    parser.add_argument("scan", type=Path, metavar="SCAN", help="NIfTI file")
    parser.add_argument("labels", type=Path, metavar="LABELS", help=".nii, .nii.gz, or .seg.nrrd with names and codes")
    parser.add_argument("--confidence", type=Path, metavar="FILE", help="write the confidence too, .nii.gz")
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def run(args: argparse.Namespace) -> int:
    """Segment one file for 3D Slicer."""
    from medseg.cli.slicer import segment_for_slicer

    segment_for_slicer(args.model, args.scan, args.labels, args.device, confidence=args.confidence)
    return 0
