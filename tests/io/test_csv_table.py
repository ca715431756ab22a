"""Tables with names of strangers: nothing is computed by a spreadsheet, every row is one line."""

from __future__ import annotations

import csv

import pytest

from medseg.batch.tables import write_manifest, write_places, write_quality
from medseg.io.csv_table import write_csv
from medseg.labels.location import NAMES
from medseg.labels.table import Label, LabelTable
from medseg.model.record import Record
from medseg.quality.measures import Measures

EVIL = ["=HYPERLINK(1)", "+1+2", "-2+3", "@SUM(A1)", " =1", "=a\tb"]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("evil", EVIL)
def test_what_would_be_computed_becomes_text(tmp_path, evil):
    write_csv([[evil, "plain", 1, -2.5, None]], tmp_path / "a.csv")
    ((cell, *rest),) = rows(tmp_path / "a.csv")
    assert cell.startswith("'")
    assert rest == ["plain", "1", "-2.5", ""]


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-07", "-inf", "nan", "1,5", "a-b", "x=1"])
def test_numbers_and_words_stay_as_they_are(tmp_path, number):
    write_csv([[number]], tmp_path / "a.csv")
    assert rows(tmp_path / "a.csv") == [[number]]


def test_a_name_with_control_characters_is_one_row(tmp_path):
    write_csv([["scan"], ["a\r\nb\x00c\u2028d\x1b[2J"]], tmp_path / "a.csv")
    assert len((tmp_path / "a.csv").read_bytes().splitlines()) == 2
    assert rows(tmp_path / "a.csv")[1] == ["a__b_c_d_[2J"]


def test_every_table_of_a_folder_is_defused(tmp_path):
    table = LabelTable(labels=(Label(number=1, name="=1+1\n2", color=(0, 0, 0)),))
    place = {1: dict.fromkeys(NAMES, 0.5)}
    records = [
        Record(evil, "done", volumes_mm3={1: 2.0}, places=place, quality=Measures({"mean": -1.0})) for evil in EVIL
    ]
    records.append(Record("b", "failed", "error", "=cmd|' /C calc'!A0"))
    write_manifest(tmp_path, records, table)
    write_quality(tmp_path, records)
    write_places(tmp_path, records)
    for name, n_rows in (("manifest", 8), ("quality", 7), ("places", 7)):
        found = rows(tmp_path / f"{name}.csv")
        assert len(found) == n_rows == len((tmp_path / f"{name}.csv").read_text().splitlines())
        assert all(row[0].startswith("'") for row in found[1:7])
    assert rows(tmp_path / "manifest.csv")[0][-1] == "1 =1+1 2 mm3"
    assert rows(tmp_path / "quality.csv")[1][-1] == "-1"


def test_a_label_has_a_name_of_one_line():
    assert Label(number=1, name="white\n\x07 matter", color=(1, 2, 3)).name == "white ? matter"
