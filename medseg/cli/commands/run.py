"""`medseg run`: train, segment, report."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_batch, add_config, add_layout, add_masks, add_outputs, add_scans, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "run", "train on the scans, segment them, write the report")
    add_scans(parser)
    add_layout(parser)
    add_outputs(parser)
    add_config(parser)
    add_masks(parser)
    add_batch(parser)
    parser.add_argument("--model", type=Path, help="model folder (default: OUT/model)")


def run(args: argparse.Namespace) -> int:
    """Train, segment, report."""
    from medseg.batch.outputs import Job
    from medseg.batch.space import warn_of_space
    from medseg.brain.tools import chosen_tool
    from medseg.cli.dry_run import plan_run
    from medseg.cli.habitats import check_habitats, judge_habitats
    from medseg.cli.layout import bids_desc
    from medseg.cli.masks import masks_folder, with_brain_tool
    from medseg.cli.scans import scans_of
    from medseg.cli.segment_and_report import options_of, segment_and_report
    from medseg.cli.train import train_model
    from medseg.cli.words import config_of, parse_outputs

    outputs = parse_outputs(args.write)
    config = with_brain_tool(config_of(args), args)
    tool = chosen_tool(config.preprocessing.brain_mask)
    job = Job(args.out, outputs, masks_folder(args), bids_desc(args, config), args.min_confidence, tool)
    check_habitats(config, job)
    scans = scans_of(args, config)
    folder = args.model or args.out / "model"
    if args.dry_run:
        return plan_run(scans, folder, config, job, options_of(args))
    warn_of_space(job, scans)
    options = {"device": args.device, "tensorboard": args.tensorboard}
    model = train_model(scans, folder, config, job=job, out=args.out, **options)
    model = judge_habitats(model, folder, scans, job)
    return segment_and_report(model, scans, job, args)
