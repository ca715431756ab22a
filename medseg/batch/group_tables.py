"""Tables over all participants of a BIDS derivative: ``group_volumes.tsv`` with its data dictionary."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from medseg.io.atomic import write_text_whole
from medseg.io.bids import entities_of
from medseg.labels.table import LabelTable
from medseg.model.record import Record

NAME = "group_volumes"


def write_group_volumes(out: Path, records: Iterable[Record], table: LabelTable) -> int:
    """Write the volume of each label in ml, one row an image that was segmented; returns how many.

    Columns that say which image it is come first, as BIDS names them; the JSON file beside it says what each means.
    """
    labels = [label.number for label in table]
    columns = ["participant_id", "session_id", "image", *(f"label{number}_ml" for number in labels), "total_ml"]
    rows = [_row(record, labels) for record in records if record.is_done and entities_of(record.scan)]
    write_text_whole(out / f"{NAME}.tsv", "\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
    meanings: dict[str, dict[str, str]] = {
        "participant_id": {"Description": "Participant of the raw dataset"},
        "session_id": {"Description": "Session of the raw dataset, n/a where it has none"},
        "image": {"Description": "Name of the segmented image without its ending"},
        **{f"label{label.number}_ml": {"LongName": label.name, "Description": f"Volume of label {label.number}",
                                       "Units": "ml"} for label in table},
        "total_ml": {"Description": "Volume of all labels", "Units": "ml"},
    }  # fmt: skip
    write_text_whole(out / f"{NAME}.json", json.dumps(meanings, indent=1) + "\n")
    return len(rows)


def _row(record: Record, labels: list[int]) -> list[str]:
    entities = entities_of(record.scan)
    volumes = [record.volumes_mm3.get(number, 0.0) / 1000 for number in labels]
    session = f"ses-{entities['ses']}" if "ses" in entities else "n/a"
    names = [f"sub-{entities['sub']}", session, record.scan.rpartition("/")[2]]
    return [*names, *(f"{volume:.3f}" for volume in (*volumes, sum(volumes)))]
