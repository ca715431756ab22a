"""What each command does, in the order in which it does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from medseg.batch.progress import say
from medseg.cli.layout import bids_desc
from medseg.cli.scans import found, scans_of
from medseg.config import Config
from medseg.config_files import config_names, config_summary, config_text, load_config
from medseg.errors import ConfigError
from medseg.io.bids import write_dataset
from medseg.io.discovery import find_scans
from medseg.io.scan import Scan
from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.batch.segment_scans import Options


def inspect(args: argparse.Namespace) -> int:
    """Print every scan with its verdict."""
    from medseg.cli.inspect import as_json, print_table

    scans = found(args)
    if args.json:
        print(as_json(scans))  # noqa: T201
    else:
        print_table(scans)
    return 0 if all(scan.is_ok or scan.is_bystander for scan in scans) else 1


def train(args: argparse.Namespace) -> int:
    """Fit a model folder."""
    from medseg.cli.train import train_model

    config = _config(args)
    scans = scans_of(args, config)
    options = {"masks": args.masks, "device": args.device, "tensorboard": args.tensorboard}
    model = train_model(scans, args.model, config, **options)
    say(model.describe())
    say(f"model folder: {args.model}")
    return 0 if all(scan.is_ok for scan in scans) else 1


def segment(args: argparse.Namespace) -> int:
    """Segment with a fitted model."""
    from medseg.batch.outputs import Job, parse_outputs
    from medseg.cli.habitats import check_habitats
    from medseg.model.model import Model

    outputs = parse_outputs(args.write)
    model = Model.load(args.model, device=args.device)
    scans = scans_of(args, model.config)
    job = Job(args.out, outputs, args.masks, bids_desc(args, model.config), args.min_confidence)
    check_habitats(model.config, job)
    return _segment_and_report(model, scans, job, args)


def run(args: argparse.Namespace) -> int:
    """Train, segment, report."""
    from medseg.batch.outputs import Job, check_writable, parse_outputs
    from medseg.cli.habitats import check_habitats, judge_habitats
    from medseg.cli.train import train_model

    outputs = parse_outputs(args.write)
    config = _config(args)
    job = Job(args.out, outputs, args.masks, bids_desc(args, config), args.min_confidence)
    check_habitats(config, job)
    scans = scans_of(args, config)
    check_writable(args.out)
    folder = args.model or args.out / "model"
    options = {"masks": args.masks, "device": args.device, "tensorboard": args.tensorboard}
    model = train_model(scans, folder, config, out=args.out, **options)
    model = judge_habitats(model, folder, scans, job)
    return _segment_and_report(model, scans, job, args)


def label(args: argparse.Namespace) -> int:
    """Name, colour and merge labels; without a change, show them."""
    from medseg.cli.label import Changes, relabel
    from medseg.cli.label_file import read_label_file, write_label_file
    from medseg.cli.label_list import print_labels
    from medseg.model.model import Model

    changes = Changes.parse(names=args.name, colors=args.color, codes=args.code, merges=args.merge, cut=args.cut)
    if args.source is not None:
        changes = read_label_file(args.source).followed_by(changes)
    code = 0 if changes.is_empty else int(relabel(args.model, changes, outputs=args.out))
    model = Model.load(args.model, device="cpu")
    print_labels(model, args.model)
    if args.save is not None:
        write_label_file(model, args.save)
        say(f"labels: {args.save}")
    return code


def configs(args: argparse.Namespace) -> int:
    """List the configs that come with medseg, or print every setting of one with its meaning."""
    if args.config is None:
        for name in config_names():
            print(f"{name:10}  {config_summary(name)}")  # noqa: T201
    else:
        print(config_text(load_config(args.config)), end="")  # noqa: T201
    return 0


def describe(args: argparse.Namespace) -> int:
    """Print what a model has learned."""
    from medseg.model.model import Model

    model = Model.load(args.model, device="cpu")
    print(model.describe())  # noqa: T201
    print(model.scheme.tree_text())  # noqa: T201
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the trained encoder as a MONAI bundle."""
    from medseg.model.bundle import write_bundle
    from medseg.model.model import Model

    write_bundle(Model.load(args.model, device="cpu"), args.out)
    say(f"bundle: {args.out}")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Compare label maps with references."""
    from medseg.cli.evaluate import evaluate_and_print

    options = {"mapping": args.mapping, "per_case": args.per_case}
    return int(evaluate_and_print(args.predictions, args.truths, args.out, **options))


def report(args: argparse.Namespace) -> int:
    """Write the report again."""
    from medseg.cli.report import add_viewer_volumes, write_report

    if args.scans is not None:
        add_viewer_volumes(args.out, find_scans(args.scans, keep_names=args.keep_names, regrid=args.regrid))
    say(f"report: {write_report(args.out, single_file=args.single_file)}")
    return 0


def pacs(args: argparse.Namespace) -> int:
    """Segment series of a PACS and store the results there."""
    from medseg.batch.outputs import Job, parse_outputs
    from medseg.batch.segment_scan import finish
    from medseg.cli.pacs import connect, parse_query, say_summary, segment_pacs
    from medseg.cli.report import write_report
    from medseg.model.model import Model

    query, server, outputs = parse_query(args), connect(args), parse_outputs(args.write)
    model = Model.load(args.model, device=args.device)
    if model.config.channels.names:
        raise ConfigError("medseg pacs works on one series at a time, found a model of several channels; fetch the "
                          "studies and use medseg segment")  # fmt: skip
    model.check(outputs)
    outcome = segment_pacs(server, query, model, Job(args.out, outputs, min_confidence=args.min_confidence))
    finish(args.out, model, quotable(args))
    write_report(args.out)
    say_summary(outcome)
    return 0 if all(record.is_done for record in outcome.records) else 1


def slicer(args: argparse.Namespace) -> int:
    """Segment one file for 3D Slicer."""
    from medseg.cli.slicer import segment_for_slicer

    segment_for_slicer(args.model, args.scan, args.labels, args.device)
    return 0


def _segment_and_report(model: object, scans: Sequence[Scan], job: object, args: argparse.Namespace) -> int:
    from medseg.batch.outputs import Job
    from medseg.batch.segment_scan import finish
    from medseg.batch.segment_scans import segment_scans
    from medseg.cli.habitats import write_habitats
    from medseg.cli.report import write_report
    from medseg.model.model import Model

    if not isinstance(model, Model) or not isinstance(job, Job):
        raise TypeError("expected a Model and a Job")
    model.check(job.outputs)
    records = segment_scans(model, args.model or job.out / "model", scans, job, _options(args))
    finish(job.out, model, quotable(args))
    if job.bids:
        write_dataset(job.out, args.scans, version=__version__)
    write_habitats(model, scans, records, job)
    page = write_report(job.out)
    n_done = sum(record.is_done for record in records)
    for record in records:
        if not record.is_done:
            say(f"{record.scan}: {record.status}: {record.why}")
    say(f"{n_done} of {len(records)} scans segmented")
    say(f"label volumes: {job.out}")
    say(f"report: {page}")
    return 0 if n_done == len(records) else 1


def _config(args: argparse.Namespace) -> Config:
    return load_config(args.config, [*args.set, *(["training.deterministic=true"] if args.deterministic else [])])


def _options(args: argparse.Namespace) -> Options:
    from medseg.batch.segment_scans import Options, parse_shard

    return Options(
        workers=args.workers,
        timeout_s=args.timeout,
        max_memory_gb=args.max_memory,
        shard=parse_shard(getattr(args, "shard", "1/1")),
        scheduler=getattr(args, "scheduler", None),
        device=args.device,
        deterministic=args.deterministic,
    )


def quotable(args: argparse.Namespace) -> list[str]:
    """The command without any path, which may tell names, for run.json."""
    words = ["medseg", str(args.command)]
    if hasattr(args, "config"):
        words += ["--config", args.config if args.config in config_names() else "FILE"]
    for name in ("write", "layout", "min_confidence", "device"):
        if hasattr(args, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    for name in ("include", "exclude"):
        words += [word for _ in getattr(args, name, None) or () for word in (f"--{name}", "GLOB")]
    words += [f"--{name.replace('_', '-')}" for name in ("keep_names", "regrid") if getattr(args, name, False)]
    for change in getattr(args, "set", []):
        words += ["--set", str(change)]
    return words


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "inspect": inspect, "run": run, "train": train, "segment": segment,
    "label": label, "describe": describe, "evaluate": evaluate, "report": report, "pacs": pacs, "slicer": slicer,
    "export": export, "configs": configs,
}  # fmt: skip
