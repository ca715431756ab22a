"""What `run` and `segment` do with a model and scans: labels, tables, report, and what is said at the end."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.batch.progress import say
from medseg.config import Config
from medseg.config_files import config_names, load_config
from medseg.io.bids import write_dataset
from medseg.io.scan import Scan
from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.batch.outputs import Job
    from medseg.batch.segment_scans import Options
    from medseg.model.model import Model


def segment_and_report(model: Model, scans: Sequence[Scan], job: Job, args: argparse.Namespace) -> int:
    """Segment, write everything that `job` asks for, say what was not done; 0 if all was."""
    from medseg.batch.segment_scan import finish
    from medseg.batch.segment_scans import segment_scans
    from medseg.cli.habitats import write_habitats
    from medseg.cli.masks import say_masks
    from medseg.cli.report import write_report

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
    say_masks(records)
    say(f"label volumes: {job.out}")
    say(f"report: {page}")
    return 0 if n_done == len(records) else 1


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that the flags ask for."""
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
    for name in ("write", "layout", "min_confidence", "brain_mask", "device"):
        if getattr(args, name, None) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    for name in ("include", "exclude"):
        words += [word for _ in getattr(args, name, None) or () for word in (f"--{name}", "GLOB")]
    words += [f"--{name.replace('_', '-')}" for name in ("keep_names", "regrid") if getattr(args, name, False)]
    for change in getattr(args, "set", []):
        words += ["--set", str(change)]
    return words
