"""Verdicts on the DICOM files of one series: which of them form a volume, and what is wrong with the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from medseg.errors import InputError
from medseg.geometry import FloatArray, Geometry
from medseg.io.dicom_header import Header
from medseg.io.series import place_slices, slice_axes

log = logging.getLogger(__name__)

ORIENTATION_TOLERANCE = 5e-4
"""Cosines that differ by no more are the same orientation, written with three decimals."""
SPACING_TOLERANCE_MM = 1e-4
"""Pixel spacings that differ by no more are the same: 0.05 mm over 512 pixels."""
BASELINE_BITS = 8
"""JPEG Extended stores 12 bits too, which no decoder of pydicom reads right."""
ENHANCED_CLASSES = (
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
)
NO_SCAN_CLASSES = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.SegmentationStorage,
    uid.UID("1.2.840.10008.5.1.4.1.1.66.7"),  # label map segmentation, newer than pydicom 3.0
    uid.RTDoseStorage,
)
"""Images that no scanner acquired: screenshots, labels, doses."""
SCAN_CLASSES = (uid.CTImageStorage, uid.MRImageStorage, uid.PositronEmissionTomographyImageStorage)


class Refusal(NamedTuple):
    """Why files are no volume: a stable code and one sentence."""

    code: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """Files of one series that belong together, in the order of their slices.

    Attributes:
        geometry: the native grid when the files are one regular volume, else None.
        refusal: why they are not, else None.
    """

    headers: tuple[Header, ...]
    geometry: Geometry | None = None
    refusal: Refusal | None = None


def judge_series(headers: Sequence[Header]) -> list[Judged]:
    """Split the files of one SeriesInstanceUID into what belongs together and judge each part.

    Returns:
        The volumes first, then the refused parts; the larger before the smaller.
    """
    ordered = sorted(_without_copies(headers), key=lambda header: (header.instance_number, header.path))
    refusals = [_refusal(header) for header in ordered]
    codes = sorted({refusal.code for refusal in refusals if refusal})
    parts = []
    for code in codes:
        refused = [(h, r) for h, r in zip(ordered, refusals, strict=True) if r and r.code == code]
        parts.append(Judged(tuple(header for header, _ in refused), refusal=refused[0][1]))
    slices = [header for header, refusal in zip(ordered, refusals, strict=True) if not refusal]
    if slices:
        parts += _judge_grids(_grids(slices))
    return sorted(parts, key=lambda part: (part.refusal is not None, -len(part.headers)))


def _without_copies(headers: Sequence[Header]) -> list[Header]:
    """Drop files that are copies of another, the same SOP instance at the same place; the readable one stays."""
    kept: dict[tuple[object, ...], Header] = {}
    for header in sorted(headers, key=lambda h: (h.missing_bytes, not _is_decodable(h.transfer_syntax), h.path)):
        name = header.sop_uid or str(header.path)
        key = (name, header.position_mm, header.orientation, header.rows, header.columns, header.phase)
        first = kept.setdefault(key, header)
        if first is not header:
            log.info("%s is a copy of %s and left out", header.path, first.path)
    return list(kept.values())


def _refusal(header: Header) -> Refusal | None:
    """Why one file can be no slice of a volume whatever the others are."""
    checks = (_not_an_image, _not_one_plane, _not_placed)
    return next((refusal for check in checks if (refusal := check(header))), None)


def _not_an_image(header: Header) -> Refusal | None:
    name = header.sop_class.name
    if not header.rows or not header.columns:
        if header.sop_class in SCAN_CLASSES:
            return Refusal("truncated", f"{name} without pixels, expected an image; export the series again")
        return Refusal("not_a_volume", f"found {name}, expected images of a scanner; leave it out")
    if header.is_colour:
        return Refusal("colour", "found a colour image, expected one grey value per pixel; leave it out")
    if header.sop_class in NO_SCAN_CLASSES:
        return Refusal("not_a_volume", f"found {name}, expected images of a scanner; leave it out")
    return None


def _not_one_plane(header: Header) -> Refusal | None:
    if header.is_mosaic:
        reason = "found a Siemens mosaic (all slices in one image), expected one slice per file; convert it to NIfTI"
        return Refusal("mosaic", reason)
    if header.n_frames > 1 or header.sop_class in ENHANCED_CLASSES:
        reason = (
            f"found an enhanced multi-frame file of {header.n_frames} frame(s), expected one slice per file; "
            "convert it to NIfTI"
        )
        return Refusal("enhanced_multiframe", reason)
    if "LOCALIZER" in header.image_type:
        return Refusal("not_a_volume", "found a localiser, expected a stack of slices; leave it out")
    return None


def _not_placed(header: Header) -> Refusal | None:
    if header.position_mm and header.orientation and header.pixel_spacing_mm:
        return None
    if header.missing_bytes:
        return _truncated(header)
    reason = "image position, orientation or pixel spacing is missing, expected all three; export the series again"
    return Refusal("no_geometry", reason)


def _truncated(header: Header) -> Refusal:
    reason = (
        f"{header.path.name} lacks {header.missing_bytes} bytes of its pixels, expected a complete file; "
        "copy or export it again"
    )
    return Refusal("truncated", reason)


def _grids(slices: Sequence[Header]) -> list[list[Header]]:
    """Slices of the same orientation, matrix, pixel spacing and frame of reference; the most numerous first."""
    leaders: list[tuple[tuple[object, ...], FloatArray, list[Header]]] = []
    cache_of: dict[tuple[object, ...], list[Header]] = {}
    for header in slices:
        exact = (header.rows, header.columns, header.frame_of_reference)
        numbers = np.array([*header.orientation, *header.pixel_spacing_mm])
        key = (*exact, *numbers.tolist())
        if key not in cache_of:
            cache_of[key] = _group_near(leaders, exact, numbers)
        cache_of[key].append(header)
    return sorted((group for _, _, group in leaders), key=len, reverse=True)


def _group_near(
    leaders: list[tuple[tuple[object, ...], FloatArray, list[Header]]],
    exact: tuple[object, ...],
    numbers: FloatArray,
) -> list[Header]:
    """The group whose first slice has this grid; a new one if there is none."""
    tolerance = np.array([ORIENTATION_TOLERANCE] * 6 + [SPACING_TOLERANCE_MM] * 2)
    for other, other_numbers, group in leaders:
        if other == exact and bool((np.abs(numbers - other_numbers) <= tolerance).all()):
            return group
    leaders.append((exact, numbers, []))
    return leaders[-1][2]


def _judge_grids(groups: list[list[Header]]) -> list[Judged]:
    """Judge the groups of `_grids`: a clear majority on its own, everything else together."""
    n_slices = sum(len(group) for group in groups)
    if len(groups) == 1:
        return [_judge_slices(groups[0])]
    majority = groups[0] if 2 * len(groups[0]) > n_slices else []
    rest = groups[1:] if majority else groups
    parts = [_judge_slices(majority)] if majority else []
    headers = tuple(header for group in rest for header in group)
    return [*parts, Judged(headers, refusal=_mixed(groups, n_slices))]


def _mixed(groups: list[list[Header]], n_slices: int) -> Refusal:
    first = groups[0][0]
    is_turned = any(
        np.abs(np.subtract(group[0].orientation, first.orientation)).max() > ORIENTATION_TOLERANCE
        for group in groups[1:]
    )
    what = "orientations" if is_turned else "image sizes, pixel spacings or frames of reference"
    counts = " + ".join(str(len(group)) for group in groups[:5]) + (" + ..." if len(groups) > 5 else "")
    reason = (
        f"{n_slices} slices of one series have {len(groups)} {what} ({counts}), expected one; "
        "export each volume as a series of its own"
    )
    return Refusal("mixed_orientation" if is_turned else "several_volumes", reason)


def _judge_slices(slices: list[Header]) -> Judged:
    """Judge slices of one grid by their positions, completeness and encoding."""
    orientation = np.mean([header.orientation for header in slices], axis=0)
    positions = np.array([header.position_mm for header in slices], dtype=np.float64)
    headers = tuple(slices)
    try:
        axes = slice_axes(orientation)
        order = np.argsort(positions @ axes[2], kind="stable")
        headers = tuple(slices[index] for index in order)
        for header in headers:
            _check_pixels(header)
        pixel_spacing = np.mean([header.pixel_spacing_mm for header in slices], axis=0)
        matrix = (headers[0].columns, headers[0].rows)
        phases = [header.phase for header in headers]
        return Judged(headers, place_slices(positions[order], axes, pixel_spacing, matrix, phases))
    except InputError as error:
        return Judged(headers, refusal=Refusal(error.code, str(error)))


def _check_pixels(header: Header) -> None:
    """Refuse a slice whose pixels are incomplete or in an encoding that nothing here decodes."""
    if header.missing_bytes:
        code, reason = _truncated(header)
        raise InputError(reason, code=code)
    is_12_bit_jpeg = header.transfer_syntax == uid.JPEGExtended12Bit and header.bits_stored > BASELINE_BITS
    if is_12_bit_jpeg or not _is_decodable(header.transfer_syntax):
        message = (
            f"pixels are encoded as {header.transfer_syntax.name}, expected an encoding that is installed here; "
            "export the series uncompressed"
        )
        raise InputError(message, code="unsupported_encoding")


@cache
def _is_decodable(transfer_syntax: uid.UID) -> bool:
    """Whether a decoder for these pixels is installed; a file without file meta is uncompressed."""
    try:
        return not transfer_syntax or get_decoder(transfer_syntax).is_available
    except NotImplementedError:
        return False


def judge_files(headers: Sequence[Header]) -> list[Judged]:
    """Judge the files of any number of series, series by series in the order of their UIDs."""
    ordered = sorted(headers, key=series_key)
    return [part for _, group in groupby(ordered, key=series_key) for part in judge_series(list(group))]


def series_key(header: Header) -> str:
    """What the files of one series share: its UID, or their folder where they name none."""
    return header.series_uid or f"no series UID, {header.path.parent}"
