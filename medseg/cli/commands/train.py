"""`medseg train`: a model folder from scans."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_common, add_config, add_layout, add_masks, add_scans, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "train", "fit a model folder; the same command resumes after an interruption")
    add_scans(parser)
    add_layout(parser)
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder to write")
    add_config(parser)
    add_masks(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Fit a model folder."""
    from medseg.batch.outputs import Job
    from medseg.batch.progress import say
    from medseg.brain.tools import chosen_tool
    from medseg.cli.dry_run import plan_train
    from medseg.cli.masks import masks_folder, with_brain_tool
    from medseg.cli.scans import scans_of
    from medseg.cli.train import brain_masks_beside, train_model
    from medseg.cli.words import config_of

    config = with_brain_tool(config_of(args), args)
    job = Job(brain_masks_beside(args.model), masks=masks_folder(args),
              brain_mask=chosen_tool(config.preprocessing.brain_mask))  # fmt: skip
    scans = scans_of(args, config)
    if args.dry_run:
        return plan_train(scans, args.model, config, job.masks)
    model = train_model(scans, args.model, config, job=job, device=args.device, tensorboard=args.tensorboard)
    say(model.describe())
    say(f"model folder: {args.model}")
    return 0 if all(scan.is_ok for scan in scans) else 1
