"""`--dry-run`: what would be done with each scan, about how long it takes and how much disk; nothing is written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from medseg.batch.amounts import duration, size
from medseg.batch.estimate import NOTHING, Estimate, estimate_segmenting, estimate_training
from medseg.batch.formats import check_outputs
from medseg.batch.outdated import check_same_model
from medseg.batch.outputs import Job
from medseg.batch.progress import event, say
from medseg.batch.resources import n_cpus
from medseg.batch.resume import known_to_be_done, model_key
from medseg.batch.segment_scans import Options, planned_workers
from medseg.config import Config
from medseg.errors import InputError
from medseg.io.mask_files import given_mask
from medseg.io.scan import Scan
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import read_records
from medseg.wording import count_of

_WORDS = {"fit": "to fit a model to", "segment": "to segment", "skip": "done already", "refuse": "refused"}


class Step(NamedTuple):
    """What would be done with one scan.

    Attributes:
        action: ``segment``, ``fit``, ``skip`` (done already), or ``refuse``.
        why: code and sentence of a refusal.
    """

    scan: Scan
    action: str
    why: str = ""


def plan_run(scans: Sequence[Scan], folder: Path, config: Config, job: Job, options: Options) -> int:
    """Print what `run` would do; 1 when a scan would be refused, else 0.

    Raises:
        ConfigError: what `run` refuses before work too.
    """
    known = fitted_before(folder, config, options.device)
    estimates = []
    if known is None:
        estimates.append(_training(scans, folder, config, job.masks)[1])
    else:
        say("the model that lies there was fitted with these settings and would be taken as it is")
    return _segmenting(known, scans, job, options, estimates, n_labels=config.clustering.n_clusters)


def plan_train(scans: Sequence[Scan], folder: Path, config: Config, masks: Path | None) -> int:
    """Print what `train` would do; 1 when a scan would be refused, else 0."""
    steps, estimate = _training(scans, folder, config, masks)
    return tell(steps, [estimate], folder)


def plan_segment(model: Model, scans: Sequence[Scan], job: Job, options: Options) -> int:
    """Print what `segment` would do; 1 when a scan would be refused, else 0.

    Raises:
        ConfigError: what `segment` refuses before work too.
    """
    return _segmenting(model, scans, job, options, [], n_labels=len(model.table))


def fitted_before(folder: Path, config: Config | None, device: str) -> Model | None:
    """The model that lies in a folder and would be taken as it is; None when one would be fitted.

    Args:
        config: that it must have been fitted with; None: any.
    """
    if not (folder / "model.json").is_file():
        return None
    model = Model.load(folder, device=device)
    return model if config in (None, model.config) else None


def _training(scans: Sequence[Scan], folder: Path, config: Config, masks: Path | None) -> tuple[list[Step], Estimate]:
    steps = [_judged(scan, masks) or Step(scan, "fit") for scan in scans]
    used = [step.scan for step in steps if step.action == "fit"]
    goes_on = ", from its checkpoint on" if (folder.parent / f".{folder.name}.training").is_dir() else ""
    replaced = "; the model that lies there would be replaced" if (folder / "model.json").is_file() else ""
    say(f"a model would be fitted to {len(used)} scans{goes_on}, {config.training.max_steps} steps at most{replaced}")
    return steps, estimate_training(used, config, n_cores=n_cpus())


def _segmenting(
    model: Model | None, scans: Sequence[Scan], job: Job, options: Options, before: Sequence[Estimate], *, n_labels: int
) -> int:
    """Print what segmenting would do after what was estimated `before`; without a model nothing is done already."""
    part, n_parts = options.shard
    if model is not None:
        model.check(job.outputs)
        check_same_model(job.out, scans, model_key(model))
    scans = scans[part - 1 :: n_parts]
    records = {record.scan: record for record in read_records(job.out)}
    steps = [_judged(scan, job.masks, job.outputs) or _step(model, scan, job) for scan in scans]
    left = [step.scan for step in steps if step.action == "segment"]
    wanted = options.workers
    workers = planned_workers(left, gpu=options.device.startswith("cuda")) if wanted is None else max(1, wanted)
    found = estimate_segmenting(
        left, records, scans, job.outputs, n_labels=n_labels, n_workers=workers, n_cores=n_cpus()
    )
    return tell(steps, [*before, found], job.out)


def tell(steps: Sequence[Step], estimates: Sequence[Estimate], out: Path) -> int:
    """Print a plan, one line a scan, and its sums; 1 when a scan would be refused, else 0."""
    for step in steps:
        event("plan", scan=step.scan.id, action=step.action, reason=step.why)
        print(f"{step.action:8}  {step.scan.id}" + (f"  {step.why}" if step.why else ""))  # noqa: T201
    counts = Counter(step.action for step in steps)
    sums = [f"{counts[name]} {words}" for name, words in _WORDS.items() if counts[name]]
    say(f"{count_of(len(steps), 'scan')}: {', '.join(sums)}")
    seconds = sum((one.seconds for one in estimates), NOTHING)
    n_bytes = sum((one.n_bytes for one in estimates), NOTHING)
    n_measured = max((one.n_measured for one in estimates), default=0)
    if seconds.high:
        known = (
            f"from {count_of(n_measured, 'scan')} of this folder"
            if n_measured
            else "a rough guess, for none was measured here"
        )
        say(f"time: {duration(seconds.low)} to {duration(seconds.high)} ({known})")
    free = shutil.disk_usage(_existing(out)).free
    warning = "; that may be too little" if n_bytes.high > free else ""
    say(f"disk: {size(n_bytes.low)} to {size(n_bytes.high)}, {size(free)} are free{warning}")
    event("estimate", seconds=[round(s, 1) for s in seconds], bytes=[round(b) for b in n_bytes], free_bytes=free,
          measured=n_measured)  # fmt: skip
    say("dry run: nothing was written")
    return 1 if counts["refuse"] else 0


def _judged(scan: Scan, masks: Path | None, outputs: Collection[Output] = ()) -> Step | None:
    """The refusal of a scan as far as it is known before voxels are read."""
    try:
        if not scan.is_ok:
            raise InputError(scan.reason, code=scan.verdict)
        if masks is not None and scan.geometry is not None:
            given_mask(masks, scan, scan.geometry)
        check_outputs(scan, outputs)
    except InputError as error:
        return Step(scan, "refuse", f"{error.code}: {error}")
    return None


def _step(model: Model | None, scan: Scan, job: Job) -> Step:
    is_done = model is not None and known_to_be_done(model_key(model), scan, job) is not None
    return Step(scan, "skip" if is_done else "segment")


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
