"""`medseg label`: names, colours, codes and merges, in the model and in the outputs that it made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.batch.formats import NAMELESS_OUTPUTS, OUTPUTS_OF_LABELS
from medseg.batch.outputs import Job, mosaic_path, sizes_of, slices_path, viewer_path, write_outputs
from medseg.batch.progress import bar, say
from medseg.batch.resume import model_key
from medseg.batch.segment_scan import finish
from medseg.cli.label_cut import check_can_follow, labels_after, only_merged
from medseg.cli.label_numbers import lacks_numbers, with_numbers_kept
from medseg.cli.report import write_report
from medseg.errors import ConfigError
from medseg.labels.location import places_of
from medseg.labels.table import Code
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import Record, read_records, write_record
from medseg.model.segmentation import Segmentation
from medseg.report.mosaic import renew_pictures
from medseg.report.viewer_volumes import renew_labels


@dataclass(frozen=True)
class Changes:
    """What the user wants: by label number; `merges` maps a label to the one it becomes part of; `cut` comes first."""

    names: dict[int, str]
    colors: dict[int, tuple[int, int, int]]
    codes: dict[int, Code]
    merges: dict[int, int]
    cut: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        names: Sequence[str],
        colors: Sequence[str],
        codes: Sequence[str],
        merges: Sequence[str],
        cut: int | None = None,
    ) -> Changes:
        """From the words of the command line.

        Raises:
            ConfigError: a word that does not have the form that the flag needs.
        """
        merged: dict[int, int] = {}
        for text in merges:
            target, *others = _numbers(text, f"--merge {text}: expected label numbers such as 4,5", least=2)
            merged.update(dict.fromkeys(others, target))
        return cls(
            names=dict(_assignment(text, "--name", '3="white matter"') for text in names),
            colors={n: _color(n, value) for n, value in (_assignment(t, "--color", "3=230,230,230") for t in colors)},
            codes={
                n: _code(n, value) for n, value in (_assignment(t, "--code", "3=389080008:White matter") for t in codes)
            },
            merges=merged,
            cut=cut,
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to change."""
        return not (self.names or self.colors or self.codes or self.merges or self.cut)

    def followed_by(self, later: Changes) -> Changes:
        """These changes and then `later`, which wins where both speak."""
        return Changes(self.names | later.names, self.colors | later.colors, self.codes | later.codes,
                       self.merges | later.merges, later.cut or self.cut)  # fmt: skip

    def apply(self, model: Model) -> Model:
        """The model under the changed label table."""
        model = model if self.cut is None else model.cut_to(self.cut)
        merges = {source: target for source, target in self.merges.items() if model.scheme.merged.get(source) != target}
        model = model.relabelled(model.table, merges)
        table = model.table
        for number, name in self.names.items():
            table = table.replace(number, name=name)
        for number, color in self.colors.items():
            table = table.replace(number, color=color)
        for number, code in self.codes.items():
            table = table.replace(number, code=code)
        return model.relabelled(table, {})


def _assignment(text: str, flag: str, example: str) -> tuple[int, str]:
    number, equals, value = text.partition("=")
    if not equals or not number.strip().isdigit() or not value.strip():
        raise ConfigError(f"{flag} {text}: expected NUMBER=VALUE, for example {example}")
    return int(number), value.strip().strip("\"'")


def _numbers(text: str, message: str, least: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < least or not all(part.isdigit() for part in parts):
        raise ConfigError(message)
    return [int(part) for part in parts]


def _color(number: int, text: str) -> tuple[int, int, int]:
    message = f"--color {number}={text}: expected three numbers from 0 to 255, for example 230,230,230"
    values = _numbers(text, message, least=3)
    if len(values) != 3 or max(values) > 255:
        raise ConfigError(message)
    return values[0], values[1], values[2]


def _code(number: int, text: str) -> Code:
    value, colon, meaning = text.partition(":")
    if not colon or not value.strip() or not meaning.strip():
        raise ConfigError(f"--code {number}={text}: expected VALUE:MEANING of SNOMED CT, e.g. 389080008:White matter")
    return Code(value=value.strip(), meaning=meaning.strip())


def relabel(folder: Path, changes: Changes, *, outputs: Sequence[Path] = ()) -> int:
    """Change the model's label table and rewrite the outputs that it made, without segmenting again.

    Args:
        outputs: folders that `run` or `segment` wrote with this model; default: the parent of `folder` when it
            is one.

    Returns:
        0, or 1 when an output could not be rewritten.
    """
    before = Model.load(folder, device="cpu")
    model = changes.apply(before)
    folders = list(outputs) or [parent for parent in [folder.resolve().parent] if (parent / "run.json").is_file()]
    for out in folders:
        _check_made_by(before, out)
        check_can_follow(out, before, model)
    model.save(folder)
    n_failed = sum(_rewrite(out, before, model) for out in folders)
    if not folders:
        say("no outputs were rewritten; name their folder with --out to have their names follow")
    return 1 if n_failed else 0


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


def _rewrite(out: Path, before: Model, model: Model) -> int:
    """Rewrite every done scan of a folder; returns how many could not be."""
    done = [record for record in read_records(out) if record.is_done]
    n_failed = 0
    with bar("rewriting", len(done)) as progress:
        for n_done, record in enumerate(done, start=1):
            path = Job.of(out, record.job).path(record.scan, Output.NIFTI)
            if path.is_file():
                n_failed += not _rewrite_scan(out, record, before, model)
            else:
                say(f"{record.scan}: {path.name} is gone, so its names cannot follow; segment it again")
                n_failed += 1
            progress.advance(n_done)
    records = finish(out, model, ["medseg", "label"])
    if any(lacks_numbers(record) for record in records if record.is_done):
        say(f"statistics.csv lacks the labels that changed: medseg stats {out} --scans SCANS measures them")
    write_report(out)
    return n_failed


def _rewrite_scan(out: Path, record: Record, before: Model, model: Model) -> bool:
    """Rewrite what can follow from the labels; returns whether that is everything."""
    job, numbers = Job.of(out, record.job), [label.number for label in before.table]
    labels, geometry = labels_after(job, record.scan, before, model)
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
