"""Numbers of every label of every scan, one row each, for papers and statistics: volumes, intensities, features."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from medseg.io.atomic import write_text_whole
from medseg.labels.table import LabelTable
from medseg.model.record import Record
from medseg.statistics import features
from medseg.statistics.features import LabelFeatures
from medseg.statistics.intensity import IntensityStatistics

VOLUMES, STATISTICS, RADIOMICS = "volumes.csv", "statistics.csv", "radiomics.csv"
_Measured = TypeVar("_Measured", IntensityStatistics, LabelFeatures)
_STATISTICS = ("n_voxels", "mean", "sd", "median", "p05", "p95")


def write_label_tables(out: Path, records: Iterable[Record], table: LabelTable) -> None:
    """Write ``volumes.csv`` and ``statistics.csv``, and ``radiomics.csv`` where such features were asked for.

    A BIDS derivative has the columns ``subject`` and ``session``, any other folder has not.
    """
    done = [record for record in records if record.is_done]
    who = ("scan", "subject", "session") if any(record.subject for record in done) else ("scan",)
    _write(out / VOLUMES, [*who, "label", "name", "ml", "share"], _volumes(done, table, who))
    columns = [*who, "label", "name", "channel", "unit"]
    rows = _measured([(record, record.statistics) for record in done], table, who)
    _write(out / STATISTICS, [*columns, *_STATISTICS], ([*head, *_intensities(one)] for head, one in rows))
    if not any(record.radiomics for record in done):
        (out / RADIOMICS).unlink(missing_ok=True)
        return
    found = _measured([(record, record.radiomics) for record in done], table, who)
    values = ([*head, *(_told(one.values.get(name)) for name in features.NAMES)] for head, one in found)
    _write(out / RADIOMICS, [*columns, *features.NAMES], values)


def _volumes(done: Sequence[Record], table: LabelTable, who: Sequence[str]) -> Iterator[list[object]]:
    """Volume of each label in ml, and its share of all labels of the scan; 0 for a label that does not occur."""
    for record in done:
        total = sum(record.volumes_mm3.get(label.number, 0.0) for label in table)
        for label in table:
            volume = record.volumes_mm3.get(label.number, 0.0)
            told = _told(volume / 1000), _told(volume / total if total else None)
            yield [*(getattr(record, name) for name in who), label.number, label.name, *told]


def _measured(
    done: Sequence[tuple[Record, Sequence[_Measured]]], table: LabelTable, who: Sequence[str]
) -> Iterator[tuple[list[object], _Measured]]:
    """The first columns of each row and what was measured, for the labels of the table."""
    names = {label.number: label.name for label in table}
    for record, measured in done:
        scan: list[object] = [getattr(record, name) for name in who]
        for one in measured:
            if one.label in names:
                yield [*scan, one.label, names[one.label], one.channel, one.unit], one


def _intensities(one: IntensityStatistics) -> list[str]:
    return [_told(getattr(one, name)) for name in _STATISTICS]


def _told(value: float | None) -> str:
    """Ten digits; nothing for what is not known."""
    return "" if value is None else f"{value:.10g}"


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text_whole(path, text.getvalue())
