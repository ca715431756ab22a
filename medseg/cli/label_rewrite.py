"""Labels under other names, colours, merges or cuts: in the model, and in the outputs that it made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from medseg.batch.busy import alone
from medseg.batch.formats import NAMELESS_OUTPUTS, OUTPUTS_OF_LABELS
from medseg.batch.outputs import Job, mosaic_path, sizes_of, slices_path, viewer_path, write_outputs
from medseg.batch.progress import bar, say
from medseg.batch.resume import model_key
from medseg.batch.segment_scan import finish
from medseg.cli.label import Changes
from medseg.cli.label_cut import check_can_follow, labels_after, only_merged
from medseg.cli.label_journal import Journal
from medseg.cli.label_numbers import lacks_numbers, with_numbers_kept
from medseg.cli.report import write_report
from medseg.errors import ConfigError
from medseg.io.atomic import remove_leftovers
from medseg.io.label_volumes import read_labels, write_labels
from medseg.labels.location import places_of
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import Record, read_records, write_record
from medseg.model.segmentation import Segmentation
from medseg.report.mosaic import renew_pictures
from medseg.report.viewer_volumes import renew_labels


def relabel(folder: Path, changes: Changes, *, outputs: Sequence[Path] = ()) -> int:
    """Change the model's label table and rewrite the outputs that it made, without segmenting again.

    What an earlier command was interrupted in is finished first; when that was the same command, that is all.

    Args:
        outputs: folders that `run` or `segment` wrote with this model; default: the parent of `folder` when it
            is one.

    Returns:
        0, or 1 when an output could not be rewritten.

    Raises:
        ConfigError: an output folder was made by another model, cannot follow, or is being written into.
    """
    folders = list(outputs) or [parent for parent in [folder.resolve().parent] if (parent / "run.json").is_file()]
    with ExitStack() as held:
        for out in folders:
            held.enter_context(alone(out))
        finished, n_failed = _finish_interrupted(Model.load(folder, device="cpu"), folders)
        if changes.as_json not in finished:
            n_failed += _change(folder, changes, folders)
    if not folders:
        say("no outputs were rewritten; name their folder with --out to have their names follow")
    return 1 if n_failed else 0


def _finish_interrupted(model: Model, folders: Sequence[Path]) -> tuple[set[str], int]:
    """Finish what was begun and interrupted; what that was, and how many scans could not follow."""
    finished, n_failed = set(), 0
    for journal in filter(None, map(Journal.found, folders)):
        if journal.has_changed(model):
            say(f"{journal.out}: an earlier renaming was interrupted and is finished now")
            n_failed += _rewrite(journal, model)
            finished.add(journal.changes)
        else:
            journal.end()
    return finished, n_failed


def _change(folder: Path, changes: Changes, folders: Sequence[Path]) -> int:
    """Change the model, then the outputs; returns how many scans could not follow."""
    before = Model.load(folder, device="cpu")
    model = changes.apply(before)
    for out in folders:
        _check_made_by(before, out)
        check_can_follow(out, before, model)
    journals = [Journal.begin(out, before, model, changes.as_json) for out in folders]
    model.save(folder)
    return sum(_rewrite(journal, model) for journal in journals)


def _check_made_by(model: Model, out: Path) -> None:
    """Refuse a folder that another model wrote."""
    try:
        made_by = json.loads((out / "run.json").read_text("utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{out}: found no run.json, expected a folder that `medseg segment` wrote") from None
    if made_by != model.fingerprint:
        raise ConfigError(
            f"{out}: was made by another model ({made_by}, this one is {model.fingerprint}); segment again"
        )


def _rewrite(journal: Journal, model: Model) -> int:
    """Rewrite every done scan of a folder; returns how many could not be."""
    out, before = journal.out, journal.model_before()
    remove_leftovers(out, deep=True)
    done = [record for record in read_records(out) if record.is_done]
    n_failed = 0
    with bar("rewriting", len(done)) as progress:
        for n_done, record in enumerate(done, start=1):
            n_failed += not _follow(journal, record, before, model)
            progress.advance(n_done)
    records = finish(out, model, ["medseg", "label"])
    if any(lacks_numbers(found) for found in records if found.is_done):
        say(f"statistics.csv lacks the labels that changed: medseg stats {out} --scans SCANS measures them")
    write_report(out)
    journal.end()
    return n_failed


def _follow(journal: Journal, record: Record, before: Model, model: Model) -> bool:
    """Have a scan's outputs follow unless they do already; returns whether all of them do."""
    if record.job is not None and record.job.model == journal.after:
        return True
    if journal.is_done(record.scan):
        return False
    path = Job.of(journal.out, record.job).path(record.scan, Output.NIFTI)
    if not path.is_file():
        say(f"{record.scan}: {path.name} is gone, so its names cannot follow; segment it again")
        return False
    has_followed = _rewrite_scan(journal, record, before, model)
    journal.mark_done(record.scan)
    return has_followed


def _rewrite_scan(journal: Journal, record: Record, before: Model, model: Model) -> bool:
    """Rewrite what can follow from the labels; returns whether that is everything."""
    out, kept = journal.out, journal.labels_path(record.scan)
    job, numbers = Job.of(out, record.job), [label.number for label in before.table]
    if not kept.is_file():
        write_labels(*labels_after(job, record.scan, before, model), kept)
    labels, geometry = read_labels(kept)
    result = Segmentation(labels, geometry, model.table)
    files = {name: [p for p in job.paths(record.scan, name, numbers) if p.is_file()] for name in Output}
    there = frozenset(name for name in Output if files[name])
    write_outputs(result, record.scan, replace(job, outputs=OUTPUTS_OF_LABELS & there))
    followed = _renew_pictures(
        out, record.scan, result, (before.scheme.merged, before.scheme.cut) == (model.scheme.merged, model.scheme.cut)
    )
    same = before.scheme.groups == model.scheme.groups and only_merged(before, model)
    follow = OUTPUTS_OF_LABELS | {Output.FINEST} | (NAMELESS_OUTPUTS if same else frozenset())
    left = [path.name for name in Output for path in files[name] if name not in follow]
    if left:
        say(f"{record.scan}: {', '.join(left)} cannot follow without the scan; segment it again")
    done_by = "" if left or not followed else model_key(model)
    facts = None if record.job is None else replace(record.job, model=done_by)
    sizes = sizes_of(record.scan, replace(job, outputs=there), numbers)
    places = places_of(labels, geometry)
    record = with_numbers_kept(record, result.volumes_mm3(), before, model)
    write_record(out, replace(record, job=facts, outputs=sizes, places=places))
    return followed and not left


def _renew_pictures(out: Path, scan: str, result: Segmentation, same_labels: bool) -> bool:
    """Have a scan's pictures follow its labels; returns whether all could, and tells of those that could not."""
    pictures, viewed, followed = (slices_path(out, scan), mosaic_path(out, scan)), viewer_path(out, scan), True
    is_there = any(path.is_file() for path in pictures)
    if is_there and not renew_pictures(result, *pictures, title=scan, same_labels=same_labels):
        say(f"{scan}: the slices of its picture are missing or damaged, so it keeps the old names; segment it again")
        followed = False
    if viewed.is_file() and not same_labels:
        try:
            renew_labels(viewed, result.labels, result.geometry)
        except ValueError:
            viewed.unlink()
            say(f"{scan}: its volume for the page's viewer was damaged and is removed; segment it again")
            followed = False
    return followed
