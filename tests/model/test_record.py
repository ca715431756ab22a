"""Records are data: what is written is read back, whatever was measured, and a damaged one costs only itself."""

from __future__ import annotations

import json
from math import inf, isnan, nan
from pathlib import Path

import pytest

from medseg.errors import ConfigError
from medseg.model.outputs import Output, requested
from medseg.model.record import JobFacts, Record, read_record, read_records, record_path, write_record
from medseg.quality.measures import Flag, Measures
from medseg.statistics.features import LabelFeatures
from medseg.statistics.intensity import IntensityStatistics

RECORD = Record(
    "sub/a", "done", seconds=1.5, volumes_mm3={1: 10.0, 12: 0.0},
    quality=Measures({"foreground_ml": 3.0}, {12: {"share": 0.5}}),
    flags=(Flag("share", 50.0, 1.0, 2.0, "%", 12), Flag("median_position", 0.9, 0.1, 0.5, "")),
    places={1: {"left": 0.5}}, job=JobFacts("model", (Output.NIFTI, Output.FRACTIONS), "k6", 0.6, is_masked=True),
    content="c", stamp="s", outputs={"sub/a_seg.nii.gz": 7}, subject="sub-01", session="ses-1",
    statistics=(IntensityStatistics(1, "T1w", "HU", 3, 1.5, 0.1, 1.0, 0.5, 2.0), IntensityStatistics(12, "", "HU", 0)),
    radiomics=(LabelFeatures(1, "T1w", "HU", {"stat_mean": 1.5}),),
)  # fmt: skip


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    write_record(tmp_path, RECORD)
    refused = Record("b", "refused", "gantry_tilt", "found a tilt: 12 degrees")
    write_record(tmp_path, refused)
    assert read_records(tmp_path) == [refused, RECORD]
    assert refused.why == "gantry_tilt: found a tilt: 12 degrees"
    kept = json.loads(record_path(tmp_path, "sub/a").read_text())
    assert kept["flags"][0] == {"measure": "share", "found": 50.0, "low": 1.0, "high": 2.0, "unit": "%", "label": 12}
    assert kept["job"]["outputs"] == ["nifti", "fractions"]
    assert str(RECORD.flags[1]) == "place of the median between dark and bright 0.9, expected 0.1 to 0.5"


def test_a_measure_that_is_no_number_costs_no_record(tmp_path: Path):
    write_record(tmp_path, Record("a", "done", quality=Measures({"depth_correlation": nan}, {1: {"depth": inf}})))
    found = read_record(tmp_path, "a")
    assert found is not None
    assert isnan(found.quality.scan["depth_correlation"])
    assert found.quality.labels[1]["depth"] == inf


@pytest.mark.parametrize(
    "text", ["", "[]", "{ damaged", '{"scan": "a"}', '{"scan": "a", "status": "done", "flags": 3}']
)
def test_a_damaged_record_is_none(tmp_path: Path, text):
    write_record(tmp_path, RECORD)
    record_path(tmp_path, "a").write_text(text)
    assert read_record(tmp_path, "a") is None
    assert read_records(tmp_path) == [RECORD]


def test_outputs_are_known_by_their_names():
    assert requested(["nifti", "seg.nrrd"]) == {Output.NIFTI, Output.SEG_NRRD}
    assert requested([]) == frozenset()
    with pytest.raises(ConfigError, match=r"found \['jpeg'\], expected some of nifti, seg.nrrd, mrb"):
        requested(["nifti", "jpeg"])
