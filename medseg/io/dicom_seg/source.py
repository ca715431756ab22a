"""The headers of the DICOM files that a result was made from, mended until a result can refer to them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

from medseg.errors import InputError
from medseg.io.dicom_seg.values import check_uids, drop_invalid

log = logging.getLogger(__name__)

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""Nothing can refer to an image that lacks one of these, or say where it lies beside it."""
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
"""Type 2 of the patient and general study modules (PS3.3 C.7.1.1, C.7.2.1): present, perhaps empty."""


def read_sources(paths: Sequence[Path]) -> list[Dataset]:
    """Read the headers of one series, in the order of `paths`.

    Anonymised headers get the empty elements that the standard asks for, and lose those of patient and study whose
    values it does not allow; the measures of an enhanced multi-frame file move to its shared functional groups when
    all frames agree. The files are not changed.

    Raises:
        InputError: ``no_reference`` when the files cannot be referred to.
    """
    sources = [_read(path) for path in paths]
    if not sources:
        raise InputError("found no DICOM file to refer to, expected a series; name its files", code="no_reference")
    for source in sources:
        _check(source)
    _mend(sources)
    first = sources[0]
    _check_together(sources)
    if "NumberOfFrames" in first:
        for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            _share(first, keyword)
        return sources
    for source in sources:
        # Slices of one judged series differ in these by rounding only, which highdicom takes for another grid.
        source.ImageOrientationPatient = first.ImageOrientationPatient
        source.PixelSpacing = first.PixelSpacing
    return sources


def _read(path: Path) -> Dataset:
    try:
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, force=True, stop_before_pixels=True)
    except PermissionError:
        raise InputError(f"no permission to read {path.name}; ask its owner for it", code="no_permission") from None
    # pydicom raises anything from KeyError to RecursionError on damaged files.
    except Exception as error:
        log.debug("%s cannot be read: %r", path, error)
        message = f"{path.name} cannot be read as DICOM, expected the scan's header; copy or export it again"
        raise InputError(message, code="no_reference") from None


def _check_together(sources: Sequence[Dataset]) -> None:
    """Refuse files of several series, and files that share their UID."""
    if len({str(source.SeriesInstanceUID) for source in sources}) > 1:
        raise InputError("the files belong to several series, expected one; name one series", code="no_reference")
    if len({str(source.SOPInstanceUID) for source in sources}) < len(sources):
        message = (
            "several files of the source have one SOPInstanceUID, expected one for each, so no DICOM segmentation can "
            "refer to them; export the series again or write another format"
        )
        raise InputError(message, code="no_reference")


def _check(source: Dataset) -> None:
    missing = [keyword for keyword in REQUIRED if not source.get(keyword)]
    if missing:
        message = (
            f"the source lacks {', '.join(missing)}, so no DICOM segmentation can refer to it; "
            "export the series again or write another format"
        )
        raise InputError(message, code="no_reference")
    check_uids(source, REQUIRED)


def _mend(sources: Sequence[Dataset]) -> None:
    """Leave out invalid elements, and add empty ones that the standard asks for."""
    invalid = {keyword for source in sources for keyword in drop_invalid(source)}
    if invalid:
        log.warning("the DICOM segmentation leaves out elements with invalid values: %s", ", ".join(sorted(invalid)))
    for source in sources:
        _fill(source)


def _fill(source: Dataset) -> None:
    """Add what anonymisation took and the standard asks for."""
    for keyword in MAY_BE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    if "SliceThickness" not in source and "NumberOfFrames" not in source:
        source.SliceThickness = "1"  # highdicom asks for one; the writer replaces it by that of the label map
    is_named = source.get("DeidentificationMethod") or source.get("DeidentificationMethodCodeSequence")
    if source.get("PatientIdentityRemoved") == "YES" and not is_named:
        source.DeidentificationMethod = "not stated by the source"


def _share(source: Dataset, keyword: str) -> None:
    """Move a functional group that is the same in all frames to where highdicom looks for it."""
    shared = source.get("SharedFunctionalGroupsSequence")
    if shared and keyword in shared[0]:
        return
    frames = [frame.get(keyword) for frame in source.get("PerFrameFunctionalGroupsSequence", [])]
    if not frames or any(group != frames[0] or not group for group in frames):
        message = (
            f"the frames of the enhanced source have no common {keyword}, expected one grid; "
            "write another format or convert the scan first"
        )
        raise InputError(message, code="no_reference")
    if not shared:
        source.SharedFunctionalGroupsSequence = [Dataset()]
    setattr(source.SharedFunctionalGroupsSequence[0], keyword, frames[0])
