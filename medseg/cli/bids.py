"""`medseg bids`: what the levels of a BIDS App mean for labels that only one model can make comparable.

One model serves all participants, so it is fitted once, at whichever level comes first: `group` fits it to the whole
dataset, `participant` to the participants named where `group` did not. Processes that start at the same moment wait for
the first of them. Afterwards participants are independent of each other, and `group` makes tables of what they left.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from medseg.batch.group_tables import NAME, write_group_volumes
from medseg.batch.outputs import Job, check_writable
from medseg.batch.progress import say
from medseg.batch.resources import limit_resources, n_cpus
from medseg.batch.segment_scan import finish
from medseg.batch.tables import locked
from medseg.brain.tools import chosen_tool
from medseg.cli.dry_run import fitted_before, plan_run, plan_segment, plan_train
from medseg.cli.habitats import check_habitats, judge_habitats
from medseg.cli.layout import bids_desc
from medseg.cli.masks import brain_tool_for, masks_folder, with_brain_tool
from medseg.cli.report import write_report
from medseg.cli.scans import scans_of
from medseg.cli.segment_and_report import options_of, quotable, segment_and_report
from medseg.cli.train import train_model
from medseg.cli.words import config_of, parse_outputs
from medseg.config import Config
from medseg.errors import ConfigError
from medseg.io.bids import is_raw_dataset, write_dataset
from medseg.io.bids_choice import BidsChoice, read_filter_file, without_prefix
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.record import read_records
from medseg.version import __version__

DEFAULT_CONFIG = "brain_t1"


def run_levels(args: argparse.Namespace) -> int:
    """Work on a dataset at each level, in the order of a BIDS App; the highest exit code of them.

    Raises:
        ConfigError: no raw dataset, labels that are not there, or settings that do not fit.
    """
    _check_dataset(args)
    _share_machine(args)
    folder = args.model or args.out / "model"
    known = fitted_before(folder, None, args.device)
    if args.model is not None and known is None:
        raise ConfigError(f"--model {folder}: found no model.json, expected a model folder that `medseg train` wrote")
    config = _config(args, known)
    if known is None:
        config = with_brain_tool(config, args)
        tool = chosen_tool(config.preprocessing.brain_mask)
    else:
        tool = brain_tool_for(config, known.plan.modality, args)
    outputs, masks = parse_outputs(args.write), masks_folder(args)
    job = Job(args.out, outputs, masks, bids_desc(args, config), args.min_confidence, tool)
    check_habitats(config, job)
    scans = scans_of(args, config, _telling(_choice(args, config)))
    work = {"participant": _participants, "group": _group}
    return max(work[level](args, config, scans, job) for level in work if level in args.levels)


def _participants(args: argparse.Namespace, config: Config, scans: Sequence[Scan], job: Job) -> int:
    """Segment, after fitting where there is no model; tables of all participants so far."""
    folder = args.model or job.out / "model"
    if args.dry_run:
        known = fitted_before(folder, config, args.device)
        options = options_of(args)
        if known is not None:
            return plan_segment(known, scans, job, options)
        return plan_run(scans, folder, config, job, options)
    model = _model(args, config, scans, job)
    code = segment_and_report(model, scans, job, args)
    _write_group(job.out, model)
    return code


def _group(args: argparse.Namespace, config: Config, scans: Sequence[Scan], job: Job) -> int:
    """The model of the dataset, and tables, page and description of what the participants left."""
    folder = args.model or job.out / "model"
    records = read_records(job.out)
    if args.dry_run:
        if fitted_before(folder, config, args.device) is None:
            return plan_train(scans, folder, config, args.masks)
        say(f"the tables and the report over {len(records)} images would be written again; dry run: nothing written")
        return 0
    model = _model(args, config, scans, job)
    finish(job.out, model, quotable(args))
    write_dataset(job.out, args.scans, version=__version__)
    if not records:
        say(f"model folder: {folder}; no participant is segmented yet: call the level participant")
        return 0
    write_report(job.out)
    n_done = _write_group(job.out, model)
    say(f"{n_done} of {len(records)} images in {NAME}.tsv")
    return 0 if n_done == len(records) else 1


def _model(args: argparse.Namespace, config: Config, scans: Sequence[Scan], job: Job) -> Model:
    """The model that lies there, or one that is fitted now while other processes of the same dataset wait."""
    if args.model is not None:
        return Model.load(args.model, device=args.device)
    folder = job.out / "model"
    check_writable(job.out)
    with locked(job.out, "fit"):
        known = fitted_before(folder, None, args.device)
        if known is not None:
            _check_settings(known, config)
            return known
        if args.participant_label or args.session_label:
            say(f"warning: found no model in OUT/model, so it is fitted to the {len(scans)} images named and serves "
                "all later participants; call the level group first for one of the whole dataset")  # fmt: skip
        options = {"device": args.device, "tensorboard": args.tensorboard}
        model = train_model(scans, folder, config, job=job, out=job.out, **options)
        return judge_habitats(model, folder, scans, job)


def _write_group(out: Path, model: Model) -> int:
    with locked(out):
        return write_group_volumes(out, read_records(out), model.table)


def _config(args: argparse.Namespace, known: Model | None) -> Config:
    """That of the model where there is one.

    Raises:
        ConfigError: another is asked for.
    """
    is_given = args.config is not None or args.set or args.random_seed is not None
    args.config = args.config or DEFAULT_CONFIG
    if known is not None and not is_given:
        return known.config
    args.set += [f"training.seed={args.random_seed}"] if args.random_seed is not None else []
    config = config_of(args)
    if known is not None:
        _check_settings(known, config)
    return config


def _check_settings(known: Model, config: Config) -> None:
    if known.config != config:
        raise ConfigError("found a model in OUT/model that was fitted with other settings, expected these (--config, "
                          "--set); leave them out, give --model, or another OUT")  # fmt: skip


def _choice(args: argparse.Namespace, config: Config) -> BidsChoice:
    return BidsChoice(
        without_prefix(args.participant_label, "sub"),
        without_prefix(args.session_label, "ses"),
        () if config.channels.names else tuple(args.modalities),
        read_filter_file(args.bids_filter_file) if args.bids_filter_file else {},
    )


def _telling(choice: BidsChoice) -> Callable[[list[Scan]], list[Scan]]:
    """The same choice, which also says how many images it takes."""

    def choose(scans: list[Scan]) -> list[Scan]:
        chosen = choice(scans)
        if len(chosen) < len(scans):
            kinds = f"suffix {' '.join(choice.suffixes)}" if choice.suffixes else "every suffix"
            say(f"{len(chosen)} of {len(scans)} structural images are taken ({kinds}, the participants, sessions and "
                "filters asked for)")  # fmt: skip
        return chosen

    return choose


def _check_dataset(args: argparse.Namespace) -> None:
    if not args.scans.is_dir():
        raise ConfigError(f"{args.scans}: found no folder, expected a BIDS dataset; check the path")
    if args.skip_bids_validation or is_raw_dataset(args.scans):
        return
    raise ConfigError(f"{args.scans}: found no dataset_description.json of a raw dataset, expected one; give the top "
                      "of the dataset, or --skip-bids-validation")  # fmt: skip


def _share_machine(args: argparse.Namespace) -> None:
    """Cores and memory as NiPreps are told them: of all processes together, and of each."""
    limit_resources(cpus=args.nthreads or None, memory=args.memory)
    if args.nthreads:
        torch.set_num_threads(n_cpus())
    if args.omp_nthreads and args.workers is None:
        args.workers = max(1, n_cpus() // args.omp_nthreads)
    if args.memory is not None and args.max_memory is None:
        args.max_memory = args.memory / (1 << 30) / max(1, args.workers or 1)
