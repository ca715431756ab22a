"""What a run left in its output folder, read back for the report: the record of every scan, and ``run.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medseg.errors import ConfigError
from medseg.labels.table import Label, default_color
from medseg.model.record import RECORDS, MaskFacts, Record, read_records
from medseg.quality.measures import Flag

_LABELS = TypeAdapter(tuple[Label, ...])


@dataclass(frozen=True)
class ScanRow:
    """One scan of the run.

    Attributes:
        code: reason code, such as ``gantry_tilt``; empty when the scan was segmented.
        volumes_ml: by label number; empty unless the scan was segmented.
        flags: what is unlike the training scans.
        files: label maps and volumes of the scan, relative to the folder; pictures left out.
        mask: that the scan was worked on in.
    """

    name: str
    status: str
    code: str
    reason: str
    seconds: float | None
    memory_mb: float | None
    volumes_ml: dict[int, float]
    flags: tuple[Flag, ...] = ()
    files: tuple[str, ...] = ()
    mask: MaskFacts = field(default_factory=MaskFacts)

    @classmethod
    def of(cls, record: Record) -> ScanRow:
        """What the page tells of a record."""
        volumes = {n: mm3 / 1000 for n, mm3 in record.volumes_mm3.items()} if record.is_done else {}
        return cls(
            record.scan, record.status, record.code, record.reason, record.seconds, record.peak_memory_mb, volumes,
            record.flags, tuple(name for name in record.outputs if record.is_done and not name.startswith("report/")),
            record.mask,
        )  # fmt: skip

    @property
    def is_done(self) -> bool:
        """Whether there are labels of this scan."""
        return self.status == "done"


@dataclass(frozen=True)
class Outcome:
    """All that the report tells; what is missing or damaged is empty.

    Attributes:
        facts: the content of ``run.json``.
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
        ConfigError: there are no records that medseg wrote.
    """
    if not (out / RECORDS).is_dir():
        raise ConfigError(f"{out}: found no {RECORDS} with records, expected a folder that `medseg segment` wrote")
    scans = tuple(map(ScanRow.of, read_records(out)))
    facts = _read_json(out / "run.json")
    losses, n_steps = _training(facts)
    return Outcome(scans, _labels(facts, scans), facts, losses, n_steps, str(facts.get("created", "")))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _training(facts: dict[str, Any]) -> tuple[tuple[float, ...], int]:
    record = facts.get("training")
    if not isinstance(record, dict) or not isinstance(record.get("losses"), list):
        return (), 0
    losses = [loss for loss in record["losses"] if isinstance(loss, (int, float)) and math.isfinite(loss)]
    n_steps = record.get("n_steps")
    return tuple(losses), n_steps if isinstance(n_steps, int) else 0


def _labels(facts: dict[str, Any], scans: Sequence[ScanRow]) -> tuple[Label, ...]:
    """The labels of the run; without its facts those that have volumes, without names."""
    try:
        return _LABELS.validate_python(facts.get("labels"))
    except ValidationError:
        numbers = sorted({number for scan in scans for number in scan.volumes_ml})
        return tuple(Label(number=n, name=f"label {n}", color=default_color(n)) for n in numbers)
