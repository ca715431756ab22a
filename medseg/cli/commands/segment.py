"""`medseg segment`: label volumes with a fitted model."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_batch, add_layout, add_masks, add_outputs, add_scans, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "segment", "write label volumes with a fitted model; done scans are skipped")
    add_scans(parser)
    add_layout(parser)
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder")
    add_outputs(parser)
    add_masks(parser)
    add_batch(parser)
    parser.add_argument("--shard", default="1/1", metavar="i/n", help="only the i-th of n parts, for job arrays")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="hand the scans to the Dask workers of this scheduler")


def run(args: argparse.Namespace) -> int:
    """Segment with a fitted model."""
    from medseg.batch.outputs import Job
    from medseg.cli.dry_run import plan_segment
    from medseg.cli.habitats import check_habitats
    from medseg.cli.layout import bids_desc
    from medseg.cli.masks import brain_tool_for, masks_folder
    from medseg.cli.scans import scans_of
    from medseg.cli.segment_and_report import options_of, segment_and_report
    from medseg.cli.words import parse_outputs
    from medseg.model.model import Model

    outputs, masks = parse_outputs(args.write), masks_folder(args)
    model = Model.load(args.model, device=args.device)
    scans = scans_of(args, model.config)
    tool, desc = brain_tool_for(model.config, model.plan.modality, args), bids_desc(args, model.config)
    job = Job(args.out, outputs, masks, desc, args.min_confidence, tool)
    check_habitats(model.config, job)
    if args.dry_run:
        return plan_segment(model, scans, job, options_of(args))
    return segment_and_report(model, scans, job, args)
