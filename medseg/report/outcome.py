"""What a run left in its output folder, read back for the report: manifest, flags, colours, run facts, training."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medseg.errors import ConfigError
from medseg.labels.table import Label, LabelTable, default_color
from medseg.quality.reference import Flag

RECORDS = ".medseg"
"""Folder below OUT that keeps one JSON record a scan."""
_FLAGS = TypeAdapter(tuple[Flag, ...])


@dataclass(frozen=True)
class ScanRow:
    """One line of the manifest.

    Attributes:
        code: reason code, such as ``gantry_tilt``; empty when the scan was segmented.
        volumes_ml: by label number; empty unless the scan was segmented.
        flags: what is unlike the training scans.
    """

    name: str
    status: str
    code: str
    reason: str
    seconds: float | None
    memory_mb: float | None
    volumes_ml: dict[int, float]
    flags: tuple[Flag, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether there are labels of this scan."""
        return self.status == "done"


@dataclass(frozen=True)
class Outcome:
    """All that the report tells; whatever an earlier version did not write is empty.

    Attributes:
        losses: mean loss of every check of the training.
        created: when the model was made.
    """

    scans: tuple[ScanRow, ...]
    labels: tuple[Label, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    n_steps: int = 0
    created: str = ""

    def volumes_ml(self, number: int) -> list[tuple[int, float]]:
        """(place in `scans`, ml) of label `number` in every segmented scan."""
        rows = enumerate(self.scans)
        return [(place, scan.volumes_ml[number]) for place, scan in rows if number in scan.volumes_ml]


def read_outcome(out: Path) -> Outcome:
    """Read the folder `out`.

    Raises:
        ConfigError: there is no manifest, or it is not one that medseg wrote.
    """
    names, scans = _read_manifest(out, _read_flags(out))
    facts = _read_json(out / "run.json")
    model = _read_json(out / "model" / "model.json")
    if not _is_of_this_run(model, facts):
        model = {}
    fitted = facts if "training" in facts else model
    losses, n_steps = _training(fitted)
    labels = _labels(names, _read_colors(out / "labels.ctbl"), model)
    return Outcome(scans, labels, facts, losses, n_steps, str(fitted.get("created", "")))


def _read_flags(out: Path) -> dict[str, tuple[Flag, ...]]:
    """What is unlike the training scans, by name of the scan, from the records."""
    found = {}
    for path in sorted((out / RECORDS).glob("*.json")):
        record = _read_json(path)
        try:
            found[str(record.get("scan"))] = _FLAGS.validate_python(record.get("flags"))
        except ValidationError:
            continue
    return found


def _read_manifest(out: Path, flags: dict[str, tuple[Flag, ...]]) -> tuple[dict[int, str], tuple[ScanRow, ...]]:
    try:
        text = (out / "manifest.csv").read_text("utf-8")
    except (OSError, UnicodeError):
        raise ConfigError(f"{out}: found no manifest.csv, expected a folder that `medseg segment` wrote") from None
    rows = list(csv.reader(io.StringIO(text, newline="")))
    header = rows[0] if rows else []
    if not {"scan", "status", "reason"} <= set(header):
        raise ConfigError(f"{out}: manifest.csv has no columns scan, status, reason; segment again")
    columns = {
        int(found[1]): (cell, found[2]) for cell in header if (found := re.fullmatch(r"(\d+) (.*) mm3", cell, re.S))
    }
    cells = [dict(zip(header, row, strict=False)) for row in rows[1:] if row]
    scans = tuple(_scan_row(one, columns, flags.get(one.get("scan", ""), ())) for one in cells)
    return {number: name for number, (_, name) in columns.items()}, scans


def _scan_row(cells: dict[str, str], columns: dict[int, tuple[str, str]], flags: tuple[Flag, ...]) -> ScanRow:
    volumes = {number: _number(cells.get(cell, "")) for number, (cell, _) in columns.items()}
    code, colon, sentence = cells.get("reason", "").partition(": ")
    if not re.fullmatch(r"\w+", code) or not colon:
        code, sentence = "", cells.get("reason", "")
    return ScanRow(
        name=cells.get("scan", ""), status=cells.get("status", ""), code=code, reason=sentence,
        seconds=_number(cells.get("seconds", "")), memory_mb=_number(cells.get("peak_memory_mb", "")),
        volumes_ml={number: mm3 / 1000 for number, mm3 in volumes.items() if mm3 is not None},
        flags=flags,
    )  # fmt: skip


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_of_this_run(model: dict[str, Any], facts: dict[str, Any]) -> bool:
    """Whether the model folder that lies in OUT is the one that wrote it: same settings, same plan."""
    return bool(model) and all(model.get(key) == facts.get(key) for key in ("config", "plan"))


def _training(fitted: dict[str, Any]) -> tuple[tuple[float, ...], int]:
    record = fitted.get("training")
    if not isinstance(record, dict) or not isinstance(record.get("losses"), list):
        return (), 0
    losses = [loss for loss in record["losses"] if isinstance(loss, (int, float)) and math.isfinite(loss)]
    n_steps = record.get("n_steps")
    return tuple(losses), n_steps if isinstance(n_steps, int) else 0


def _read_colors(path: Path) -> dict[int, tuple[int, int, int]]:
    """Colours by label number; lines that are none are passed over."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return {}
    found = [re.fullmatch(r"(\d+) \S+ (\d+) (\d+) (\d+) \d+\s*", line) for line in lines]
    values = [tuple(min(int(part), 255) for part in hit.groups()[1:]) for hit in found if hit]
    numbers = [int(hit[1]) for hit in found if hit]
    return {number: (value[0], value[1], value[2]) for number, value in zip(numbers, values, strict=True)}


def _labels(names: dict[int, str], colors: dict[int, tuple[int, int, int]], model: dict[str, Any]) -> tuple[Label, ...]:
    """The labels of the manifest, with what the model knows of them."""
    try:
        known = {label.number: label for label in LabelTable.model_validate(model.get("labels"))}
    except ValidationError:
        known = {}
    labels = []
    for number, name in names.items():
        color = colors.get(number, default_color(max(number, 1)))
        described = known.get(number, Label(number=max(number, 1), name=name or f"label {number}", color=color))
        labels.append(described.model_copy(update={"number": number, "name": name, "color": color}))
    return tuple(labels)
