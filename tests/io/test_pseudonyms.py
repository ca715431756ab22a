"""Patients and studies by number: who belongs together, and nothing of who it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg import find_scans
from medseg.io.pseudonyms import pseudonyms
from medseg.io.scan import Scan, SeriesTags
from tests.support.dicom_files import edit, write_axial

Person = tuple[str, ...]


def series(scan_id: str, person: Person, study: str = "1.1") -> Scan:
    return Scan(scan_id, (Path(scan_id),), "dicom", series=SeriesTags(study, "", person))


@pytest.mark.parametrize(
    ("people", "numbers"),
    [
        ([("id", "name", "born"), ("id", "name", "born")], [1, 1]),
        ([("id", "name", ""), ("id", "name", "born"), ("", "name", "")], [1, 1, 1]),
        ([("a", "name", ""), ("b", "name", "")], [1, 2]),
        ([("a", "", "born"), ("a", "", "other")], [1, 2]),
        ([("a", "x", ""), ("a", "y", ""), ("a", "", "")], [1, 2, 3]),  # the third may be either
        ([("", "", ""), ("id", "", "")], [1, 1]),  # of one study
    ],
)
def test_patients_are_told_apart_by_what_their_files_say(people, numbers):
    found = pseudonyms([series(str(n), person) for n, person in enumerate(people)])
    assert [found[str(n)].patient for n in range(len(people))] == numbers


def test_studies_are_counted_within_their_patient():
    scans = [series("a", ("p",), "s1"), series("b", ("p",), "s2"), series("c", ("q",), "s3"), series("d", ("p",), "s1"),
             series("e", ("",), "s4"), series("f", ("",), "s4"), series("g", ("",), "")]  # fmt: skip
    found = pseudonyms(scans)
    assert {name: str(found[name]) for name in "abcdef"} == {
        "a": "patient 1, study 1", "b": "patient 1, study 2", "c": "patient 2, study 1", "d": "patient 1, study 1",
        "e": "patient 3, study 1", "f": "patient 3, study 1",
    }  # fmt: skip
    assert "g" not in found


def test_subjects_and_sessions_of_a_bids_dataset():
    ids = ("sub-02/ses-b/anat/sub-02_ses-b_T1w", "sub-01/anat/sub-01_T1w", "sub-02/ses-a/anat/x", "other/a")
    found = pseudonyms([Scan(name, (Path("a.nii"),), "nifti") for name in ids])
    assert [tuple(found[name]) for name in ids[:3]] == [(1, 1), (2, 1), (1, 2)]
    assert "other/a" not in found


def test_real_headers_with_one_name_in_several_spellings(tmp_path):
    for number, name in enumerate(("Doe^Jane", "DOE^JANE^", "Roe^Jane")):
        (tmp_path / str(number)).mkdir()
        for path in write_axial(tmp_path / str(number)):
            edit(
                path,
                PatientName=name,
                SeriesInstanceUID=f"1.2.{number}",
                SOPInstanceUID=f"1.3.{number}.{int(path.stem[2:])}",
            )
    scans = find_scans(tmp_path)
    numbers = sorted(pseudonym.patient for pseudonym in pseudonyms(scans).values())
    assert numbers in ([1, 1, 2], [1, 2, 2])
    assert not any("Doe" in repr(scan) or "DOE" in repr(pseudonyms(scans)) for scan in scans)
