"""``volumes.csv``, ``statistics.csv`` and ``radiomics.csv`` say what the records hold, under stable columns."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from medseg.batch.label_tables import write_label_tables
from medseg.labels.table import LabelTable
from medseg.model.record import Record
from medseg.report.ratings import Rating, keep_ratings
from medseg.statistics.features import NAMES, LabelFeatures
from medseg.statistics.intensity import IntensityStatistics

TABLE = LabelTable.default(2).replace(2, name='white "matter", both')
KNOWN = IntensityStatistics(2, "T1w", "HU", 3000000001, 1 / 3, 2.5, 100.0, -1e-7, 12345.678901)
RECORD = Record("b/a", "done", volumes_mm3={1: 0.0, 2: 1234567.8901}, statistics=(
    IntensityStatistics(1, "T1w", "HU", 0), KNOWN))  # fmt: skip


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_volumes_have_one_row_a_scan_and_label(tmp_path):
    refused = Record("c", "refused", "gantry_tilt", "a tilt")
    empty = Record("d", "done", volumes_mm3={1: 0.0, 2: 0.0})
    write_label_tables(tmp_path, [RECORD, refused, empty], TABLE)
    assert rows(tmp_path / "volumes.csv") == [
        ["scan", "label", "name", "ml", "share", "rating"],
        ["b/a", "1", "label 1", "0", "0", ""], ["b/a", "2", 'white "matter", both', "1234.56789", "1", ""],
        ["d", "1", "label 1", "0", "", ""], ["d", "2", 'white "matter", both', "0", "", ""],
    ]  # fmt: skip


def test_statistics_have_ten_digits_and_gaps_where_nothing_is_known(tmp_path):
    write_label_tables(tmp_path, [RECORD], TABLE)
    assert rows(tmp_path / "statistics.csv") == [
        ["scan", "label", "name", "channel", "unit", "n_voxels", "mean", "sd", "median", "p05", "p95"],
        ["b/a", "1", "label 1", "T1w", "HU", "0", "", "", "", "", ""],
        ["b/a", "2", 'white "matter", both', "T1w", "HU", "3000000001", "0.3333333333", "2.5", "100", "-1e-07",
         "12345.6789"],
    ]  # fmt: skip


def test_a_label_that_was_merged_away_has_no_row(tmp_path):
    write_label_tables(tmp_path, [RECORD], TABLE.without([2]))
    assert [row[1] for row in rows(tmp_path / "statistics.csv")[1:]] == ["1"]
    assert rows(tmp_path / "volumes.csv")[1:] == [["b/a", "1", "label 1", "0", "", ""]]


def test_a_bids_derivative_has_subject_and_session(tmp_path):
    first = replace(RECORD, subject="sub-01", session="ses-02")
    write_label_tables(tmp_path, [first, replace(RECORD, scan="x", subject="sub-02")], TABLE)
    for name in ("volumes.csv", "statistics.csv"):
        found = rows(tmp_path / name)
        assert found[0][:5] == ["scan", "subject", "session", "label", "name"]
        assert [row[:3] for row in found[1::2]] == [["b/a", "sub-01", "ses-02"], ["x", "sub-02", ""]]


def test_features_have_a_table_while_there_are_any(tmp_path):
    features = LabelFeatures(2, "", "as stored", {"stat_mean": 2.0, "morph_geary_c": 0.97})
    write_label_tables(tmp_path, [replace(RECORD, radiomics=(features,)), replace(RECORD, scan="x")], TABLE)
    head, row = rows(tmp_path / "radiomics.csv")
    assert head == ["scan", "label", "name", "channel", "unit", *NAMES]
    known = dict(zip(head, row, strict=True))
    assert (known["stat_mean"], known["stat_var"], known["morph_geary_c"]) == ("2", "", "0.97")
    write_label_tables(tmp_path, [RECORD], TABLE)
    assert not (tmp_path / "radiomics.csv").exists()


def test_excluded_scans_are_left_out_of_the_group(tmp_path):
    volumes = {"a": 10.0, "b": 20.0, "c": 60.0, "d": 999.0}
    done = [Record(name, "done", volumes_mm3={1: 1000 * ml}) for name, ml in volumes.items()]
    keep_ratings(tmp_path, {"d": Rating("exclude"), "a": Rating("pass")}, frozenset(volumes))
    write_label_tables(tmp_path, done, TABLE)
    assert [(row[0], row[1], row[-1]) for row in rows(tmp_path / "volumes.csv")[1:] if row[1] == "1"] == [
        ("a", "1", "pass"), ("b", "1", ""), ("c", "1", ""), ("d", "1", "exclude"),
    ]  # fmt: skip
    head, first, _ = rows(tmp_path / "group.csv")
    assert head == ["label", "name", "n_scans", "n_excluded", "mean_ml", "sd_ml", "median_ml", "p25_ml", "p75_ml",
                    "least_ml", "most_ml"]  # fmt: skip
    assert first == ["1", "label 1", "3", "1", "30", "26.45751311", "20", "15", "40", "10", "60"]
