"""Values of patient and study that the standard does not allow, which nothing that is written may repeat."""

from __future__ import annotations

import math
import re

from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM, validate_value

from medseg.errors import InputError

PATIENT_GROUPS = (0x0010, 0x0012, 0x0038)
"""Patient, clinical trial and visit."""
COMPUTED_WITH = ("SliceThickness", "SpacingBetweenSlices")
OTHERS = (
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName"),
    *("ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName", "IssuerOfAccessionNumberSequence"),
    *("PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "AdmittingDiagnosesDescription", "ProcedureCodeSequence"),
    *("PhysiciansOfRecordIdentificationSequence", "PhysiciansReadingStudyIdentificationSequence"),
    *("AdmittingDiagnosesCodeSequence", "ReferencedStudySequence", "RequestingService", "SeriesNumber"),
    *COMPUTED_WITH,
)
"""What else highdicom takes from the study."""
CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
"""No character of the patient's elements; an escape begins another character set."""
ALLOWED = {"PatientSex": {"M", "F", "O"}, "PatientIdentityRemoved": {"YES", "NO"}}
UID = re.compile(r"[0-9.]{1,64}")
"""What can stand for a UID; components that begin with 0 are invalid too, and so common that nobody rejects them."""


def drop_invalid(source: Dataset) -> set[str]:
    """Remove the elements of patient and study with invalid values; returns their keywords."""
    tags = [tag for tag in list(source.keys()) if tag.group in PATIENT_GROUPS or keyword_for_tag(tag) in OTHERS]
    invalid = {tag for tag in tags if not _is_valid(source, tag)}
    for tag in invalid:
        del source[tag]
    return {keyword_for_tag(tag) or str(tag) for tag in invalid}


def check_uids(source: Dataset, keywords: tuple[str, ...]) -> None:
    """Refuse UIDs that are none: a reference has to repeat them.

    Raises:
        InputError: ``no_reference``.
    """
    for keyword in keywords:
        if not UID.fullmatch(str(source[keyword].value)):
            message = (
                f"{keyword} of the source is no UID, expected digits and dots, 64 at most, so no DICOM segmentation "
                "can refer to it; export the series again or write another format"
            )
            raise InputError(message, code="no_reference")


def _is_valid(source: Dataset, tag: int) -> bool:
    """Whether the standard allows the value of an element; an empty one is allowed."""
    try:
        element = source[tag]
        if element.VR == "SQ":
            items = [(item, inner) for item in element.value for inner in list(item.keys())]
            return all(inner.is_private or _is_valid(item, inner) for item, inner in items)
        is_one = element.VM <= 1  # 0 when it is empty
        values = element.value if element.VM > 1 else [element.value][: element.VM]
        return (is_one or dictionary_VM(tag) != "1") and all(_is_value(element, value) for value in values)
    # pydicom raises many kinds for values that it cannot convert or does not know.
    except Exception:
        return False


def _is_value(element: DataElement, value: object) -> bool:
    """Whether one value is allowed; raises what pydicom raises when it is not."""
    text = str(value)
    if text not in ALLOWED.get(element.keyword, {text}) or CONTROL.search(text):
        return False
    if element.keyword in COMPUTED_WITH or element.VR == "IS":
        return math.isfinite(float(text))
    if element.VR in {"DA", "TM"}:
        (DA if element.VR == "DA" else TM)(text)
    validate_value(element.VR, text, RAISE)
    return True
