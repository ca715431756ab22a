"""Numbers of every label of every scan, one row each, for papers and statistics: volumes, intensities, features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from medseg.io.csv_table import write_csv
from medseg.labels.table import LabelTable
from medseg.model.record import Record
from medseg.report.ratings import Rating, kept_ratings
from medseg.statistics import features
from medseg.statistics.features import LabelFeatures
from medseg.statistics.intensity import IntensityStatistics

VOLUMES, STATISTICS, RADIOMICS, GROUP = "volumes.csv", "statistics.csv", "radiomics.csv", "group.csv"
_SPREAD = ("mean_ml", "sd_ml", "median_ml", "p25_ml", "p75_ml", "least_ml", "most_ml")
_Measured = TypeVar("_Measured", IntensityStatistics, LabelFeatures)
_STATISTICS = ("n_voxels", "mean", "sd", "median", "p05", "p95")


def write_label_tables(out: Path, records: Iterable[Record], table: LabelTable) -> None:
    """Write ``volumes.csv``, ``group.csv``, ``statistics.csv``, and ``radiomics.csv`` where features were asked for.

    A BIDS derivative has the columns ``subject`` and ``session``, any other folder has not.
    """
    done = [record for record in records if record.is_done]
    who = ("scan", "subject", "session") if any(record.subject for record in done) else ("scan",)
    ratings = kept_ratings(out)
    rows_of_volumes = list(_volumes(done, table, who, ratings))
    write_csv([[*who, "label", "name", "ml", "share", "rating"], *rows_of_volumes], out / VOLUMES)
    write_csv([["label", "name", "n_scans", "n_excluded", *_SPREAD], *_group(done, table, ratings)], out / GROUP)
    columns = [*who, "label", "name", "channel", "unit"]
    rows = _measured([(record, record.statistics) for record in done], table, who)
    write_csv([[*columns, *_STATISTICS], *([*head, *_intensities(one)] for head, one in rows)], out / STATISTICS)
    if not any(record.radiomics for record in done):
        (out / RADIOMICS).unlink(missing_ok=True)
        return
    found = _measured([(record, record.radiomics) for record in done], table, who)
    values = ([*head, *(_told(one.values.get(name)) for name in features.NAMES)] for head, one in found)
    write_csv([[*columns, *features.NAMES], *values], out / RADIOMICS)


def _volumes(
    done: Sequence[Record], table: LabelTable, who: Sequence[str], ratings: Mapping[str, Rating]
) -> Iterator[list[object]]:
    """Volume of each label in ml, and its share of all labels of the scan; 0 for a label that does not occur."""
    for record in done:
        total = sum(record.volumes_mm3.get(label.number, 0.0) for label in table)
        for label in table:
            volume = record.volumes_mm3.get(label.number, 0.0)
            told = _told(volume / 1000), _told(volume / total if total else None)
            rating = ratings.get(record.scan, Rating("")).rating
            yield [*(getattr(record, name) for name in who), label.number, label.name, *told, rating]


def _group(done: Sequence[Record], table: LabelTable, ratings: Mapping[str, Rating]) -> Iterator[list[object]]:
    """How the volume of each label in ml is spread over the scans that nobody excluded."""
    kept = [record for record in done if ratings.get(record.scan, Rating("")).rating != "exclude"]
    for label in table:
        ml = np.array([record.volumes_mm3.get(label.number, 0.0) / 1000 for record in kept])
        if ml.size:
            sd = float(ml.std(ddof=1)) if ml.size > 1 else None
            numbers = [
                float(ml.mean()),
                sd,
                *map(float, np.percentile(ml, (50, 25, 75))),
                float(ml.min()),
                float(ml.max()),
            ]
            yield [label.number, label.name, ml.size, len(done) - ml.size, *map(_told, numbers)]


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
