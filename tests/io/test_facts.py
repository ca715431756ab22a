"""How a scan was acquired: read from DICOM elements, no word of them that is no defined term."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg import find_scans
from medseg.io.acquisition import facts_of
from medseg.io.facts import NOTHING, Facts
from medseg.io.scan import Scan
from sample_data.dicom_series import Modality, write_dicom_series
from tests.support.dicom_files import AXIAL, SHAPE, edit, phantom, write_axial
from tests.support.scans import shared

MPRAGE: dict[str, Any] = {
    "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "MRAcquisitionType": "3D",
    "RepetitionTime": "2300", "EchoTime": "2.98", "InversionTime": "900", "FlipAngle": "9",
}  # fmt: skip


def scan_of(folder: Path, modality: Modality = "MR", **elements: Any) -> Scan:
    paths = write_axial(folder) if modality == "MR" else write_dicom_series((phantom(), AXIAL), folder, modality="CT")
    for path in paths:
        edit(path, **elements)
    (scan,) = find_scans(folder)
    assert scan.is_ok, scan.reason
    return scan


def test_facts_of_a_magnetic_resonance_series(tmp_path):
    facts = scan_of(tmp_path, **MPRAGE, ContrastBolusAgent="Gadovist 7 ml").facts
    assert facts == Facts(
        modality="MR", sequence=("IR", "GR"), variant=("SK", "SP", "MP"), dimension="3D", tr_ms=2300.0, te_ms=2.98,
        ti_ms=900.0, flip_deg=9.0, thickness_mm=2.5, agent="yes",
    )  # fmt: skip
    assert facts.label == "MR T1-weighted (guess) 3D IR/GR TR 2300 TE 2.98 TI 900 FA 9"
    assert facts.kind == "MR T1-weighted (guess) 3D IR/GR with contrast agent"
    assert json.loads(json.dumps(facts.as_object()))["weighting_guess"] == "T1-weighted"


def test_facts_of_a_computed_tomography(tmp_path):
    facts = scan_of(tmp_path, "CT", ConvolutionKernel="B30f", ContrastBolusAgent="").facts
    assert (facts.kernel, facts.kvp, facts.thickness_mm, facts.agent) == ("B30f", 120.0, 2.5, "unknown")
    assert facts.label == "CT kernel B30f 120 kVp slices 2.5 mm"
    assert facts.kind == "CT kernel B30f"
    assert facts.weighting == ""


def test_slices_that_differ_are_told_by_most_of_them(tmp_path):
    paths = write_axial(tmp_path)
    for number, path in enumerate(paths):
        edit(path, RepetitionTime="500" if number else "510")
    (scan,) = find_scans(tmp_path)
    assert (len(paths), scan.facts.tr_ms) == (SHAPE[2], 500.0)


@pytest.mark.parametrize(
    ("said", "agent"),
    [("Omnipaque 350", "yes"), ("APPLIED", "yes"), ("NO", "no"), ("none", "no"), ("Without", "no"),
     ("no contrast", "no"), ("", "unknown"), ("n/a", "unknown"), ("---", "unknown"), ("Unknown", "unknown"),
     ("Novagad", "yes")],
)  # fmt: skip
def test_contrast_agents(said, agent):
    assert facts_of({"ContrastBolusAgent": (said,)}).agent == agent


def test_contrast_agents_of_enhanced_files():
    assert facts_of({"ContrastBolusAgentSequence": ("",)}).agent == "yes"
    assert facts_of({"ContrastBolusAgentSequence": ("",), "ContrastBolusAgentAdministered": ("NO",)}).agent == "no"


@pytest.mark.parametrize(
    ("elements", "special"),
    [({"ImageType": ("ORIGINAL", "PRIMARY", "P", "ND")}, "phase"),
     ({"ImageType": ("DERIVED", "PRIMARY", "T1 MAP")}, "map"),
     ({"FrameType": ("DERIVED", "PRIMARY", "FIELD_MAP")}, "map"), ({"AngioFlag": ("Y",)}, "angiography"),
     ({"ImageType": ("DERIVED", "SECONDARY", "PROJECTION IMAGE")}, "projection"),
     ({"ImageType": ("ORIGINAL", "PRIMARY", "M", "ND")}, "")],
)  # fmt: skip
def test_what_is_no_plain_image_gets_no_guess(elements, special):
    plain = {keyword: tuple(value) if isinstance(value, list) else (value,) for keyword, value in MPRAGE.items()}
    facts = facts_of({"Modality": ("MR",), **plain, **elements})
    assert facts.special == special
    assert (facts.weighting == "") == bool(special)


def test_nothing_but_defined_terms_and_numbers_gets_in():
    said = "Zerbrowski"
    keywords = ("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "Units", "AngioFlag", "RepetitionTime",
                "EchoTime", "FlipAngle", "KVP", "SliceThickness", "ImageType", "ContrastBolusAgent",
                "EchoPulseSequence")  # fmt: skip
    facts = facts_of(dict.fromkeys(keywords, (said,)))
    assert said not in repr(facts)
    assert facts == Facts(agent="yes")
    for wrong in ("-1", "0", "nan", "inf", "1e9", ""):
        assert facts_of({"RepetitionTime": (wrong,), "KVP": (wrong,)}) == NOTHING
    assert facts_of({"ConvolutionKernel": ("B30f\n<b>", "H31s" * 9)}).kernel == "B30fb/H31sH31sH31sH31s"


def test_facts_of_real_series():
    labels = {scan.facts.label for scan in find_scans(shared("data/dicom/study"))}
    assert labels == {"MR T1-weighted (guess) 2D SE TR 500 TE 8.9 FA 75",
                      "MR T2-weighted FLAIR (guess) 2D SE/IR TR 9000 TE 136 TI 2500 FA 150"}  # fmt: skip


def test_facts_of_real_enhanced_files():
    siemens = {scan.facts.label for scan in find_scans(shared("data/dicom/mr_enhanced/In/Siemens"))}
    assert siemens == {"MR 2D GR/EP TR 500 TE 30 FA 52"}
    philips = {scan.facts.label for scan in find_scans(shared("data/dicom/mr_enhanced/In/Philips"))}
    assert philips == {"MR 3D GR TR 3.8 TE 1.52 FA 12", "MR map 3D GR TR 3.8 FA 12"}


def test_facts_of_the_functional_groups_of_an_enhanced_file(tmp_path):
    source = next(shared("data/dicom/mr_enhanced/In/Siemens").rglob("*.dcm"))
    found = pydicom.dcmread(source)
    groups = found.SharedFunctionalGroupsSequence[0]
    groups.MRTimingAndRelatedParametersSequence[0].RepetitionTime = 2300.0
    modifier, usage = Dataset(), Dataset()
    modifier.InversionRecovery, modifier.InversionTimes = "YES", [900.0]
    modifier.Spoiling, modifier.SteadyStatePulseSequence = "RF", "NONE"
    usage.ContrastBolusAgentAdministered = "YES"
    groups.MRModifierSequence, groups.ContrastBolusUsageSequence = [modifier], [usage]
    found.EchoPulseSequence, found.EchoPlanarPulseSequence, found.EchoTime = "GRADIENT", "NO", 3.0
    found.save_as(tmp_path / "changed.dcm")
    (facts,) = {scan.facts for scan in find_scans(tmp_path)}
    assert (facts.sequence, facts.variant, facts.tr_ms, facts.ti_ms) == (("IR", "GR"), ("SP",), 2300.0, 900.0)
    assert facts.agent == "yes"


def test_facts_do_not_change_what_is_one_series(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(float)
    write_dicom_series((voxels, AXIAL), tmp_path)
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        edit(path, FlipAngle=f"{number + 1}", ContrastBolusAgent=f"{number}")
    assert [scan.verdict for scan in find_scans(tmp_path)] == ["ok"]
