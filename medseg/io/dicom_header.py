"""The few header elements of one DICOM file that decide whether and where it belongs in a volume."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medseg.errors import InputError

log = logging.getLogger(__name__)

Texts = dict[str, tuple[str, ...]]

PREAMBLE_BYTES = 132
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a file without preamble begins: group 0002 or 0008, little or big endian."""
PHASE_KEYWORDS = (
    "ImageType",
    "EchoTime",
    "InversionTime",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "NominalPercentageOfCardiacPhase",
)
"""What tells the volumes of one series apart: echo, b-value, heart phase, time point, magnitude or phase."""
MOSAIC_IMAGES = 0x0019100A
"""Siemens' private NumberOfImagesInMosaic."""
MAX_NUMBER = 1e6
"""No position or spacing in mm is larger; also refuses NaN and infinity."""
_NO_UID = UID("")
_TAGS = [
    Tag(tag)
    for tag in (
        *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "SeriesNumber"),
        *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
        *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated", "BitsStored"),
        *PHASE_KEYWORDS,
        MOSAIC_IMAGES,
    )
]


@dataclass(frozen=True)
class Header:
    """One DICOM file before its pixels are read; what the file does not say is empty or 0.

    Attributes:
        position_mm: centre of the first voxel, LPS+ (DICOM's convention).
        orientation: direction cosines of a row and of a column, LPS+.
        pixel_spacing_mm: distance between rows, distance between columns.
        phase: what tells volumes of one series apart (`PHASE_KEYWORDS`).
        missing_bytes: how many bytes of uncompressed pixels the file lacks; everything when it has none.
    """

    path: Path
    sop_class: UID
    sop_uid: str = ""
    series_uid: str = ""
    frame_of_reference: str = ""
    modality: str = ""
    series_number: str = ""
    instance_number: int = 0
    image_type: tuple[str, ...] = ()
    position_mm: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    pixel_spacing_mm: tuple[float, ...] = ()
    rows: int = 0
    columns: int = 0
    n_frames: int = 1
    bits_stored: int = 0
    is_colour: bool = False
    is_mosaic: bool = False
    transfer_syntax: UID = _NO_UID
    phase: tuple[str, ...] = ()
    missing_bytes: int = 0


def read_header(path: Path) -> Header | None:
    """Read one file's header without its pixels; None when the file is not DICOM or only a DICOMDIR.

    Raises:
        InputError: ``corrupt_file`` when the file claims to be DICOM and cannot be read as such,
            ``no_permission`` when it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE_BYTES)
            is_marked = start[128:] == b"DICM"
            if not is_marked and start[:2] not in FIRST_GROUPS:
                log.debug("%s is not DICOM", path)
                return None
            file.seek(0)
            return _parse(path, file, is_marked)
    except PermissionError:
        message = f"no permission to read {path.name}, expected a readable file; ask its owner for it"
        raise InputError(message, code="no_permission") from None
    except OSError as error:
        message = f"{path.name} cannot be opened ({error.strerror}), expected a readable file; copy it again"
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
    message = f"{path.name} begins as DICOM but has no readable header, expected a complete one; export it again"
    raise InputError(message, code="corrupt_file")


def _header(path: Path, found: FileDataset, sop_class: UID, file: BinaryIO) -> Header:
    """The elements of a parsed file whose read position stands before its pixels."""
    texts = _texts(found)
    transfer_syntax = UID(found.file_meta.get("TransferSyntaxUID") or "")
    header = Header(
        path=path,
        sop_class=sop_class,
        sop_uid=_text(texts, "SOPInstanceUID"),
        series_uid=_text(texts, "SeriesInstanceUID"),
        frame_of_reference=_text(texts, "FrameOfReferenceUID"),
        modality=_text(texts, "Modality"),
        series_number=_text(texts, "SeriesNumber"),
        instance_number=_integer(texts, "InstanceNumber"),
        image_type=texts.get("ImageType", ()),
        position_mm=_floats(texts, "ImagePositionPatient", 3),
        orientation=_floats(texts, "ImageOrientationPatient", 6),
        pixel_spacing_mm=_floats(texts, "PixelSpacing", 2),
        rows=_integer(texts, "Rows"),
        columns=_integer(texts, "Columns"),
        n_frames=_integer(texts, "NumberOfFrames") or 1,
        bits_stored=_integer(texts, "BitsStored"),
        is_colour=_integer(texts, "SamplesPerPixel") > 1
        or _text(texts, "PhotometricInterpretation") == "PALETTE COLOR",
        is_mosaic="MOSAIC" in texts.get("ImageType", ()) or MOSAIC_IMAGES in found,
        transfer_syntax=transfer_syntax,
        phase=tuple("\\".join(texts.get(keyword, ())) for keyword in PHASE_KEYWORDS),
    )
    # Tag, (value representation and) length come before the value.
    n_bytes = os.fstat(file.fileno()).st_size - file.tell() - (8 if found.is_implicit_VR else 12)
    return replace(header, missing_bytes=_missing_bytes(header, texts, max(0, n_bytes)))


def _missing_bytes(header: Header, texts: Texts, n_bytes: int) -> int:
    """How many bytes of pixels a file lacks that has `n_bytes` of them."""
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return 0
    bits = _integer(texts, "BitsAllocated") * max(1, _integer(texts, "SamplesPerPixel"))
    expected = -(-header.rows * header.columns * header.n_frames * bits // 8)
    if header.transfer_syntax and header.transfer_syntax.is_encapsulated:
        # How long compressed pixels are is known only to who decodes them.
        return 0 if n_bytes else expected
    return max(0, expected - n_bytes)


def _texts(found: FileDataset) -> Texts:
    """The values of each element by keyword, as stripped strings; unconvertible elements are left out."""
    texts = {}
    for tag in list(found.keys()):
        try:
            element = found[tag]
        # One bad element of the few is as good as none; pydicom raises many kinds.
        except Exception as error:
            log.debug("%s cannot be read: %r", tag, error)
            continue
        if not element.is_empty:
            values = element.value if element.VM > 1 else [element.value]
            texts[element.keyword] = tuple(str(value).strip() for value in values)
    return texts


def _text(texts: Texts, keyword: str) -> str:
    """The first value of an element, or ``""``."""
    return next(iter(texts.get(keyword, ())), "")


def _integer(texts: Texts, keyword: str) -> int:
    """The first value of an element as an integer, or 0."""
    try:
        return int(float(_text(texts, keyword)))
    except (ValueError, OverflowError):
        return 0


def _floats(texts: Texts, keyword: str, count: int) -> tuple[float, ...]:
    """`count` usable numbers, or none at all."""
    try:
        numbers = tuple(float(text) for text in texts.get(keyword, ()))
    except ValueError:
        return ()
    is_usable = len(numbers) == count and all(abs(number) < MAX_NUMBER for number in numbers)
    return numbers if is_usable else ()
