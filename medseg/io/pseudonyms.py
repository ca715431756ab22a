"""Patients and studies by number: who belongs together can be seen, who it is cannot."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

from medseg.io.scan import Scan

_BIDS = re.compile(r"(?:.*/)?(sub-[A-Za-z0-9]+)/(?:(ses-[A-Za-z0-9]+)/)?")
Person = tuple[str, ...]
"""Values by which a patient is known, each empty where the files do not say it."""


class Pseudonym(NamedTuple):
    """Number of a patient among the scans, and of a study among those of the patient, both from 1."""

    patient: int
    study: int

    def __str__(self) -> str:
        return f"patient {self.patient}, study {self.study}"


def pseudonyms(scans: Sequence[Scan]) -> dict[str, Pseudonym]:
    """The patient and study of each scan whose files tell them apart, by the id of the scan.

    Two DICOM series are of one patient when PatientID, PatientName and PatientBirthDate agree as far as their files say
    them, or, where these say nothing, when their study is the same; of BIDS datasets ``sub`` and ``ses`` say it.
    Numbers follow the order of `scans`: they are the same in every run over the same folder, and say nothing else.
    """
    owners = {scan.id: owner for scan in scans if (owner := _owner(scan)) is not None}
    known = _known([person for person, _ in owners.values()])
    of_study = {study: known[person] for person, study in owners.values() if any(person)}
    numbers: dict[Person, int] = {}
    studies: dict[Person, dict[str, int]] = defaultdict(dict)
    found = {}
    for scan_id, (named, study) in owners.items():
        person = known[named] if any(named) else of_study.get(study, ("study", study))
        number = numbers.setdefault(person, len(numbers) + 1)
        found[scan_id] = Pseudonym(number, studies[person].setdefault(study, len(studies[person]) + 1))
    return found


def _owner(scan: Scan) -> tuple[Person, str] | None:
    """The patient and the study of a scan; None when its files name neither."""
    if scan.series is not None:
        owner = scan.series.patient, scan.series.study
        return owner if any(owner[0]) or owner[1] else None
    entities = _BIDS.match(scan.id) if scan.format == "nifti" else None
    return ((entities[1],), entities[2] or "") if entities else None


def _known(people: Sequence[Person]) -> Mapping[Person, Person]:
    """Each person as the fullest that agrees with all its values, where that is one; else as it is."""
    agreeing: dict[Person, set[Person]] = defaultdict(set)
    for person in dict.fromkeys(people):
        for less in product(*(("", value) if value else ("",) for value in person)):
            agreeing[less].add(person)
    return {person: _fullest(person, agreeing[person]) for person in dict.fromkeys(people)}


def _fullest(person: Person, agreeing: set[Person]) -> Person:
    most = max(sum(map(bool, other)) for other in agreeing)
    fullest = [other for other in agreeing if sum(map(bool, other)) == most]
    return fullest[0] if len(fullest) == 1 else person
