"""JSON beside NIfTI files: the same facts as DICOM gives, seconds made milliseconds, the closest file last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg import find_scans
from medseg.io.facts import NOTHING, Facts
from medseg.io.scan import FreeText
from medseg.io.sidecars import MOST_BYTES, sidecar_of
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.scans import shared, write_nifti

MPRAGE = {
    "Modality": "MR", "ScanningSequence": "GR\\IR", "SequenceVariant": "SK_SP_MP", "MRAcquisitionType": "3D",
    "RepetitionTime": 2.3, "EchoTime": 0.00298, "InversionTime": 0.9, "FlipAngle": 9,
    "SeriesDescription": "t1 mprage\nDoe", "ProtocolName": "head",
}  # fmt: skip
LABEL = "MR T1-weighted (guess) 3D IR/GR TR 2300 TE 2.98 TI 900 FA 9"


def write(path: Path, values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


def test_a_sidecar_says_how_its_image_was_acquired(tmp_path):
    image = phantom(small_grid(28), noise=8.0, seed=0)[0]
    write_nifti(image, tmp_path / "a.nii.gz")
    write(tmp_path / "a.json", MPRAGE)
    (scan,) = find_scans(tmp_path)
    assert scan.facts.label == LABEL
    assert scan.free_text == FreeText("t1 mprage Doe", "head")
    assert "Doe" not in repr(scan)
    assert scan.modality == ""


def test_sidecars_further_up_hold_for_what_is_below(tmp_path):
    anat = tmp_path / "sub-01" / "ses-a" / "anat"
    write(tmp_path / "dataset_description.json", {"Name": "x"})
    write(tmp_path / "T1w.json", {"RepetitionTime": 2.3, "EchoTime": 0.003, "FlipAngle": 8})
    write(tmp_path / "acq-hi_T1w.json", {"FlipAngle": 9})
    write(tmp_path / "FLAIR.json", {"InversionTime": 2.5})
    write(tmp_path / "sub-01" / "sub-01_ses-b_T1w.json", {"EchoTime": 0.5})
    write(tmp_path / "sub-01" / "sub-01_T1w.json", {"EchoTime": 0.004})
    write(anat / "sub-01_ses-a_acq-hi_T1w.json", {"InversionTime": 0.9})
    facts, _ = sidecar_of(anat / "sub-01_ses-a_acq-hi_T1w.nii.gz")
    assert facts == Facts(tr_ms=2300.0, te_ms=4.0, ti_ms=900.0, flip_deg=9.0, suffix="T1w")
    assert sidecar_of(anat / "sub-01_ses-a_T1w.nii")[0].flip_deg == 8.0
    (tmp_path / "dataset_description.json").unlink()
    assert sidecar_of(anat / "sub-01_ses-a_acq-hi_T1w.nii.gz")[0] == Facts(ti_ms=900.0, suffix="T1w")


def test_without_a_sidecar_a_name_of_bids_says_the_kind(tmp_path):
    assert sidecar_of(tmp_path / "sub-01_T1w.nii.gz") == (Facts(suffix="T1w"), FreeText())
    assert sidecar_of(tmp_path / "sub-01_T1w.nii.gz")[0].kind == "T1w"
    for name in ("a.nii", "IBSR_01_T1w.nii.gz", "T1w.nii.gz", "sub-01_bold.nii"):
        assert sidecar_of(tmp_path / name) == (NOTHING, FreeText())


@pytest.mark.parametrize("content", ["", "{", "[1]", '"a"', "\x00", "[" * 20000, " " * (MOST_BYTES + 1)])
def test_a_damaged_sidecar_costs_the_facts_only(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    assert sidecar_of(tmp_path / "a.nii.gz") == (NOTHING, FreeText())


def test_values_of_a_wrong_type_are_left_out(tmp_path):
    values = {"RepetitionTime": "2.3", "EchoTime": [0.003], "InversionTime": 2300, "FlipAngle": {},
              "ScanningSequence": ["GR", 3, None], "ContrastBolusIngredient": "GADOLINIUM"}  # fmt: skip
    write(tmp_path / "a.json", values)
    assert sidecar_of(tmp_path / "a.nii.gz")[0] == Facts(sequence=("GR",), agent="yes")


def test_the_repetition_time_of_a_prepared_sequence(tmp_path):
    write(tmp_path / "a.json", {"RepetitionTimeExcitation": 0.01, "RepetitionTimePreparation": 2.3})
    assert sidecar_of(tmp_path / "a.nii.gz")[0].tr_ms == 2300.0


def test_a_real_sidecar_of_dcm2niix():
    scans = find_scans(shared("data/dicom/mr_enhanced/Ref"))
    found = {scan.id: scan.facts.label for scan in scans if scan.is_ok}
    assert found["Philips_WIP_B0_NS_801_e1"] == "MR 3D RM TR 3.8 TE 1.52 FA 12"
