"""What happened to every scan of an output folder, as data: one small JSON file a scan, written as it ends."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from medseg.io.alignment import Alignment
from medseg.io.atomic import write_text_whole
from medseg.model.outputs import Output
from medseg.quality.measures import Flag, Measures
from medseg.statistics.features import LabelFeatures
from medseg.statistics.intensity import IntensityStatistics

RECORDS = ".medseg"


@dataclass(frozen=True)
class JobFacts:
    """What was asked for; a scan whose content and facts are the same is not done again.

    Attributes:
        model: fingerprint of the model and of its label table; empty when outputs do not follow them.
        outputs: in the order of `Output`.
        bids: ``desc`` of the names of a BIDS derivative; empty for the plain layout.
        min_confidence: least confidence of a label.
        is_masked: whether there were masks.
        brain_mask: tool that made brain masks of scans without one; empty for none.
    """

    model: str
    outputs: tuple[Output, ...] = ()
    bids: str = ""
    min_confidence: float = 0.0
    is_masked: bool = False
    brain_mask: str = ""


@dataclass(frozen=True)
class MaskFacts:
    """Which mask a scan was worked on in.

    Attributes:
        by: ``given``, ``by hand`` (made by a tool and changed since), or the tool with its version; empty without.
        digest: of the file that it is kept in; empty unless a tool made it.
    """

    by: str = ""
    volume_ml: float = 0.0
    digest: str = ""


@dataclass(frozen=True)
class Record:
    """The outcome of one scan.

    Attributes:
        status: ``done``, ``refused`` (the scan) or ``failed`` (the machine or the method).
        code: reason code, such as ``gantry_tilt``; empty when done.
        reason: sentence, empty when done.
        volumes_mm3: volume of each label by its number.
        quality: measures of the scan and of its labels.
        flags: what is unlike the training scans.
        places: where each label lies, by its number.
        job: what was asked for; None unless done.
        content: fingerprint of every byte of the scan's files and its mask.
        stamp: names, sizes and times of these files; while it is the same, their content is not read again.
        outputs: size in bytes of every file written for the scan, by its name relative to OUT.
        subject: BIDS subject and `session` of the scan; empty outside a BIDS dataset.
        statistics: intensities of each label in each channel, in the scan's own unit.
        radiomics: features of each label in each channel; empty unless asked for.
        alignments: how the further channels were brought onto the first one, where they were registered.
        mask: that the scan was worked on in.
    """

    scan: str
    status: str
    code: str = ""
    reason: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    volumes_mm3: dict[int, float] = field(default_factory=dict)
    quality: Measures = field(default_factory=Measures)
    flags: tuple[Flag, ...] = ()
    places: dict[int, dict[str, float]] = field(default_factory=dict)
    job: JobFacts | None = None
    content: str = ""
    stamp: str = ""
    outputs: dict[str, int] = field(default_factory=dict)
    subject: str = ""
    session: str = ""
    statistics: tuple[IntensityStatistics, ...] = ()
    radiomics: tuple[LabelFeatures, ...] = ()
    alignments: tuple[Alignment, ...] = ()
    mask: MaskFacts = field(default_factory=MaskFacts)

    @property
    def is_done(self) -> bool:
        """Whether the scan was segmented."""
        return self.status == "done"

    @property
    def why(self) -> str:
        """Code and sentence, for people."""
        return f"{self.code}: {self.reason}" if self.code else self.reason


_RECORD = TypeAdapter(Record)


def record_path(out: Path, scan: str) -> Path:
    """Where the outcome of a scan is kept."""
    return out / RECORDS / f"{hashlib.sha256(scan.encode()).hexdigest()[:16]}.json"


def write_record(out: Path, record: Record) -> None:
    """Keep the outcome of one scan at once, so that a crash loses nothing that was done."""
    write_text_whole(record_path(out, record.scan), json.dumps(asdict(record), indent=1))


def read_record(out: Path, scan: str) -> Record | None:
    """The kept outcome of a scan, if there is one."""
    return _parse(record_path(out, scan))


def read_records(out: Path) -> list[Record]:
    """All kept outcomes, ordered by scan."""
    paths = sorted((out / RECORDS).glob("*.json")) if (out / RECORDS).is_dir() else []
    return sorted((record for record in map(_parse, paths) if record), key=lambda record: record.scan)


def _parse(path: Path) -> Record | None:
    try:
        return _RECORD.validate_python(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
