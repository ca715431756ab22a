"""What `run` and `segment` do with a model and scans: labels, tables, report, and what is said at the end."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from medseg.batch.progress import say
from medseg.config_files import config_names
from medseg.io.bids import write_dataset
from medseg.io.scan import Scan
from medseg.version import __version__
from medseg.wording import count_of

if TYPE_CHECKING:
    from medseg.batch.outputs import Job
    from medseg.batch.segment_scans import Options
    from medseg.model.model import Model
    from medseg.model.record import Record


def segment_and_report(model: Model, scans: Sequence[Scan], job: Job, args: argparse.Namespace) -> int:
    """Segment, write everything that `job` asks for, say what was not done; 0 if all was."""
    from medseg.batch.busy import writing
    from medseg.batch.label_tables import STATISTICS, VOLUMES
    from medseg.batch.segment_scan import finish
    from medseg.batch.segment_scans import segment_scans
    from medseg.batch.space import warn_of_space
    from medseg.cli.habitats import write_habitats
    from medseg.cli.masks import say_masks
    from medseg.cli.report import write_report

    model.check(job.outputs)
    warn_of_space(job, scans)
    folder = args.model or job.out / "model"
    with writing(job.out):
        records = segment_scans(model, folder, scans, job, options_of(args))
        finish(job.out, model, quotable(args), records)
        if job.bids:
            write_dataset(job.out, args.scans, version=__version__)
        write_habitats(model, scans, records, job)
        page = write_report(job.out)
    n_done = sum(record.is_done for record in records)
    _say_failures(records, scans, job)
    say(f"{n_done} of {count_of(len(records), 'scan')} segmented")
    say_masks(records)
    say(f"label volumes: {job.out}")
    say(f"tables: {job.out / VOLUMES}, {STATISTICS}; manifest.csv says what became of each scan")
    _say_how_to_name(model, folder, job.out)
    say(f"report: {page}")
    return 0 if n_done == len(records) else 1


def _say_failures(records: Sequence[Record], scans: Sequence[Scan], job: Job) -> None:
    """Say why scans have no labels."""
    from medseg.batch.space import full_disk

    for record in records:
        if not record.is_done:
            say(f"{record.scan}: {record.status}: {record.why}", is_error=True)
    full = {record.scan for record in records if record.code == "disk_full"}
    if full:
        say(str(full_disk(job, [scan for scan in scans if scan.id in full])))


def _say_how_to_name(model: Model, folder: Path, out: Path) -> None:
    """Say that labels have no names yet and who gives them; nothing when each has one."""
    unnamed = [label.number for label in model.table if not label.is_named]
    if not unnamed:
        return
    found = model.suggestions
    words = f"medseg label {quote(str(folder))}"
    where = "" if folder.resolve().parent == out.resolve() else f" --out {quote(str(out))}"
    what = "the labels have" if len(unnamed) == len(model.table) else f"labels {', '.join(map(str, unnamed))} have"
    say(f"{what} no names yet: look at them in the report, then")
    if found:
        told = ", ".join(f"{number} {name}" for number, name in sorted(found.items()))
        say(f"  {words} --accept{where}    takes what is suggested: {told}")
    say(f'  {words} --name {unnamed[-1]}="..."{where}    gives names of your own')


def options_of(args: argparse.Namespace) -> Options:
    """How the flags ask a batch to be worked on."""
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
