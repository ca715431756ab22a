"""The few header elements of one DICOM file that decide whether and where it belongs in a volume."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom import config as pydicom_config
from pydicom.datadict import keyword_dict
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medseg.errors import InputError
from medseg.io.acquisition import KEYWORDS, facts_of
from medseg.io.dicom.deflated import check_unpacked
from medseg.io.dicom.elements import (
    CREATORS,
    PHASE_KEYWORDS,
    PRIVATE,
    Texts,
    floats_of,
    integer_of,
    phase_of,
    text_of,
    texts_of,
)
from medseg.io.dicom.frames import frames_of
from medseg.io.dicom.header import MODALITIES, Header
from medseg.io.dicom.padding import PADDING_KEYWORDS, padding_of
from medseg.io.dicom.rescale import DEFAULTS, rescale_of

log = logging.getLogger(__name__)

PREAMBLE_BYTES = 132
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a file without preamble begins: group 0002 or 0008, little or big endian."""
PATIENT = ("PatientID", "PatientName", "PatientBirthDate")
MOSAIC_IMAGES = 0x0019100A
"""Siemens' private NumberOfImagesInMosaic."""
_TAGS: list[Any] = [
    Tag(tag)  # type: ignore[arg-type]
    for tag in (
        *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "SeriesNumber"),
        *("StudyInstanceUID", "SeriesDescription", "ProtocolName", *PATIENT, *DEFAULTS, "RescaleType"),
        *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
        *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated", "BitsStored"),
        *(keyword for keywords in PHASE_KEYWORDS.values() for keyword in keywords if keyword in keyword_dict),
        *("ModalityLUTSequence", *PADDING_KEYWORDS, *KEYWORDS),
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
        *PRIVATE,
        *CREATORS,
        MOSAIC_IMAGES,
    )
]


def read_header(path: Path) -> Header | None:
    """Read one file's header without its pixels; None when the file is not DICOM or only a DICOMDIR.

    Raises:
        InputError: ``corrupt_file`` when the file claims to be DICOM and cannot be read as such, ``too_large`` when it
            unpacks to far more than it has, ``no_permission`` when it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE_BYTES)
            is_marked = start[128:] == b"DICM"
            if not is_marked and start[:2] not in FIRST_GROUPS:
                log.debug("%s is not DICOM", path)
                return None
            file.seek(0)
            check_unpacked(file, path.stat().st_size)
            return _parse(path, file, is_marked)
    except PermissionError:
        message = "no permission to read the file, expected a readable one; ask its owner for it"
        raise InputError(message, code="no_permission") from None
    except OSError as error:
        message = f"the file cannot be opened ({error.strerror}), expected a readable one; copy it again"
        raise InputError(message, code="corrupt_file") from error


def _parse(path: Path, file: BinaryIO, is_marked: bool) -> Header | None:
    """The header of an open file that begins like DICOM."""
    try:
        # The validation warns of every oddity of the world's scanners and costs half of the time.
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            found = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
            sop_class = UID(found.get("SOPClassUID") or found.file_meta.get("MediaStorageSOPClassUID") or "")
            if sop_class == MediaStorageDirectoryStorage or not (sop_class or is_marked):
                log.debug("%s holds no DICOM object", path)
                return None
            if sop_class:
                return _header(path, found, sop_class, file)
    # pydicom raises anything from KeyError to RecursionError on damaged files.
    except Exception as error:
        log.debug("%s cannot be parsed: %r", path, error)
        if not is_marked:
            return None
    message = "the file begins as DICOM but has no readable header, expected a complete one; export it again"
    raise InputError(message, code="corrupt_file")


def _header(path: Path, found: FileDataset, sop_class: UID, file: BinaryIO) -> Header:
    """The elements of a parsed file whose read position stands before its pixels."""
    texts = texts_of(found)
    transfer_syntax = UID(found.file_meta.get("TransferSyntaxUID") or "")
    header = Header(
        path=path,
        sop_class=sop_class,
        sop_uid=text_of(texts, "SOPInstanceUID"),
        series_uid=text_of(texts, "SeriesInstanceUID"),
        study_uid=text_of(texts, "StudyInstanceUID"),
        patient=tuple(hidden(text_of(texts, keyword)) for keyword in PATIENT),
        description=text_of(texts, "SeriesDescription"),
        protocol=text_of(texts, "ProtocolName"),
        facts=facts_of(texts),
        frame_of_reference=text_of(texts, "FrameOfReferenceUID"),
        modality=text_of(texts, "Modality") or MODALITIES.get(sop_class, ""),
        series_number=text_of(texts, "SeriesNumber"),
        instance_number=integer_of(texts, "InstanceNumber"),
        image_type=texts.get("ImageType", ()),
        position_mm=floats_of(texts, "ImagePositionPatient", 3),
        orientation=floats_of(texts, "ImageOrientationPatient", 6),
        pixel_spacing_mm=floats_of(texts, "PixelSpacing", 2),
        rows=integer_of(texts, "Rows"),
        columns=integer_of(texts, "Columns"),
        n_frames=integer_of(texts, "NumberOfFrames") or 1,
        bits_stored=integer_of(texts, "BitsStored"),
        is_colour=integer_of(texts, "SamplesPerPixel") > 1
        or text_of(texts, "PhotometricInterpretation") == "PALETTE COLOR",
        is_mosaic="MOSAIC" in texts.get("ImageType", ()) or MOSAIC_IMAGES in found,
        transfer_syntax=transfer_syntax,
        phase=phase_of(texts),
        rescale=rescale_of(found),
        padding=padding_of(texts),
        n_bytes=os.fstat(file.fileno()).st_size,
    )
    # Tag, (value representation and) length come before the value.
    n_bytes = header.n_bytes - file.tell() - (8 if found.is_implicit_VR else 12)
    header = replace(header, missing_bytes=_missing_bytes(header, texts, max(0, n_bytes)))
    return replace(header, frames=frames_of(header, found))


def hidden(text: str) -> str:
    """A hash by which one patient is told from another; names differ in capitals and empty parts."""
    plain = text.strip(" ^").upper()
    return hashlib.sha256(plain.encode()).hexdigest()[:16] if plain else ""


def _missing_bytes(header: Header, texts: Texts, n_bytes: int) -> int:
    """How many bytes of pixels a file lacks that has `n_bytes` of them."""
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return 0
    bits = integer_of(texts, "BitsAllocated") * max(1, integer_of(texts, "SamplesPerPixel"))
    expected = -(-header.rows * header.columns * header.n_frames * bits // 8)
    if header.transfer_syntax and header.transfer_syntax.is_encapsulated:
        # How long compressed pixels are is known only to who decodes them.
        return 0 if n_bytes else expected
    return max(0, expected - n_bytes)
