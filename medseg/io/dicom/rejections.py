"""Why one DICOM file can be no slice of a volume, whatever the other files of its series are."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from medseg.errors import InputError
from medseg.io.dicom.header import Header
from medseg.io.scan import MAX_VOXELS
from medseg.spatial.geometry import Geometry

MAX_RATIO = 4000
"""No codec of DICOM shrinks an image by more, even where it is empty; a header that says so lies."""
MIN_SUSPECT_BYTES = 2**28
"""Below this size a lie costs nothing."""
ENHANCED_CLASSES = (
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
)
SCAN_CLASSES = (
    *(uid.CTImageStorage, uid.MRImageStorage, uid.PositronEmissionTomographyImageStorage),
    uid.NuclearMedicineImageStorage,
)
NO_SCAN_CLASSES = (
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.SegmentationStorage,
    uid.UID("1.2.840.10008.5.1.4.1.1.66.7"),  # label map segmentation, newer than pydicom 3.0
    uid.RTDoseStorage,
    uid.MRSpectroscopyStorage,
)
"""What has pixels that are no image: labels, doses, spectra, screenshots in colour."""
FALLBACK_SYNTAXES = (
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
)
"""What SimpleITK decodes and pydicom does not without more packages."""
SYNTAXES = {
    "uncompressed": uid.ExplicitVRLittleEndian,
    "RLE": uid.RLELossless,
    "JPEG 8 bit": uid.JPEGBaseline8Bit,
    "JPEG 12 bit": uid.JPEGExtended12Bit,
    "JPEG lossless": uid.JPEGLosslessSV1,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
    "HTJ2K": uid.HTJ2KLossless,
}
BASELINE_BITS = 8
"""JPEG Extended stores 12 bits too, which no decoder of pydicom reads right."""


class Refusal(NamedTuple):
    """Why files are no volume: a stable code and one sentence."""

    code: str
    reason: str


def refusal_of(header: Header) -> Refusal | None:
    """Why this file can be no slice; None when it can."""
    checks = (_not_an_image, _not_one_plane, _not_placed, _lying)
    return next((refusal for check in checks if (refusal := check(header))), None)


def _not_an_image(header: Header) -> Refusal | None:
    name = header.sop_class.name
    is_scan = header.sop_class in (*SCAN_CLASSES, *ENHANCED_CLASSES)
    if not header.rows or not header.columns:
        if is_scan:
            return Refusal("truncated", f"{name} without pixels, expected an image; export the series again")
        return Refusal("not_a_volume", f"found {name}, expected images of a scanner; leave it out")
    is_screenshot = header.is_derived and (header.is_colour or not _is_placed(header))
    is_image = is_scan or header.position_mm or header.frames
    if is_screenshot or header.sop_class in NO_SCAN_CLASSES or not is_image:
        return Refusal("not_a_volume", f"found {name}, expected images of a scanner; leave it out")
    if header.is_colour:
        return Refusal("colour", "found a colour image, expected one grey value per pixel; leave it out")
    return None


def _not_one_plane(header: Header) -> Refusal | None:
    if header.is_mosaic:
        reason = "found a Siemens mosaic (all slices in one image), expected one slice per file; convert it to NIfTI"
        return Refusal("mosaic", reason)
    is_multiframe = header.n_frames > 1 or header.sop_class in ENHANCED_CLASSES
    if is_multiframe and header.frame < 0 and not header.frames:
        reason = (
            f"found a multi-frame file of {header.n_frames} frame(s) that does not say where each of them lies, "
            "expected functional groups for each frame; convert it to NIfTI"
        )
        return Refusal("enhanced_multiframe", reason)
    if "LOCALIZER" in header.image_type or any("LOCALIZER" in frame.image_type for frame in header.frames[:1]):
        return Refusal("not_a_volume", "found a localiser, expected a stack of slices; leave it out")
    return None


def _not_placed(header: Header) -> Refusal | None:
    if _is_placed(header):
        return None
    if header.missing_bytes:
        return truncated(header)
    reason = "image position, orientation or pixel spacing is missing, expected all three; export the series again"
    return Refusal("no_geometry", reason)


def _is_placed(header: Header) -> bool:
    """Whether the file says where its pixels lie, or each of its frames."""
    is_placed = all(h.position_mm and h.orientation and h.pixel_spacing_mm for h in header.frames or (header,))
    return is_placed and (header.n_frames == 1 or bool(header.frames) or header.frame >= 0)


def _lying(header: Header) -> Refusal | None:
    """Refuse a header that promises far more than the file can hold, before memory is set aside for it."""
    n_voxels = header.rows * header.columns * header.n_frames
    if n_voxels > MAX_VOXELS or (2 * n_voxels > MIN_SUSPECT_BYTES and 2 * n_voxels > MAX_RATIO * header.n_bytes):
        reason = (
            f"the header promises {header.columns} x {header.rows} x {header.n_frames} pixels in a file of "
            f"{header.n_bytes} bytes, expected at most {MAX_VOXELS} and {MAX_RATIO} times the file; export it again"
        )
        return Refusal("too_large", reason)
    return None


def truncated(header: Header) -> Refusal:
    """The refusal of a file that ends before its pixels do."""
    reason = (
        f"{header.name} lacks {header.missing_bytes} bytes of its pixels, expected a complete file; "
        "copy or export it again"
    )
    return Refusal("truncated", reason)


def check_size(geometry: Geometry) -> None:
    """Refuse a volume that no memory holds.

    Raises:
        InputError: ``too_large``.
    """
    if math.prod(geometry.shape) > MAX_VOXELS:
        message = f"found {geometry.shape} voxels, expected at most {MAX_VOXELS}; crop or downsample the scan"
        raise InputError(message, code="too_large")


def check_pixels(header: Header) -> None:
    """Refuse a slice whose pixels are incomplete or in an encoding that nothing here decodes.

    Raises:
        InputError: ``truncated`` or ``unsupported_encoding``.
    """
    if header.missing_bytes:
        code, reason = truncated(header)
        raise InputError(reason, code=code)
    if not is_decodable(header.transfer_syntax):
        message = (
            f"pixels are encoded as {header.transfer_syntax.name}, expected an encoding that is installed here; "
            'pip install "medseg[codecs]", or export the series uncompressed'
        )
        raise InputError(message, code="unsupported_encoding")


@cache
def is_decodable(transfer_syntax: uid.UID) -> bool:
    """Whether a decoder for these pixels is installed; a file without file meta is uncompressed."""
    return not transfer_syntax or transfer_syntax in FALLBACK_SYNTAXES or has_pydicom_decoder(transfer_syntax)


def codecs() -> dict[str, bool]:
    """Every way in which the pixels of scans are stored, by its usual name, and whether it can be decoded here."""
    return {name: is_decodable(syntax) for name, syntax in SYNTAXES.items()}


@cache
def has_pydicom_decoder(transfer_syntax: uid.UID) -> bool:
    """Whether pydicom has what it needs to decode these pixels."""
    try:
        return bool(get_decoder(transfer_syntax).is_available)
    except NotImplementedError:
        return False
