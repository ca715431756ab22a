"""Files that are there twice: a copy is identical, and what is not identical is a contradiction.

Only files that claim to be the same image are compared, so that a search reads the pixels of no others.
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Sequence

import numpy as np

from medseg.errors import InputError
from medseg.io.dicom.header import Header
from medseg.io.dicom.rejections import Refusal, is_decodable

log = logging.getLogger(__name__)


def without_copies(headers: Sequence[Header]) -> tuple[list[Header], Refusal | None]:
    """Leave out copies: the same SOP instance at the same place with the same pixels; the readable one stays.

    Returns:
        The files that stay, and why none may be used when files of one SOP instance hold different pixels.
    """
    kept: dict[tuple[object, ...], Header] = {}
    n_other = 0
    for header in sorted(headers, key=lambda h: (h.missing_bytes, not is_decodable(h.transfer_syntax), h.path)):
        name = header.sop_uid or str(header.path)
        key = (name, header.frame, header.position_mm, header.orientation, header.rows, header.columns, header.phase)
        n_other += not _is_same(kept.setdefault(key, header), header)
    if n_other:
        verb = "has" if n_other == 1 else "have"
        reason = (
            f"{n_other} of {len(headers)} files {verb} the SOPInstanceUID and the place of another file and other "
            "pixels, expected identical copies; keep the right one of each, or export the series again"
        )
        return list(headers), Refusal("duplicate_positions", reason)
    if len(kept) < len(headers):
        log.info("%d copies of files are left out", len(headers) - len(kept))
    return list(kept.values()), None


def _is_same(first: Header, other: Header) -> bool:
    """Whether two files of one image hold the same; of a damaged one what is left of it counts."""
    if first.path == other.path or filecmp.cmp(first.path, other.path, shallow=False):
        return True
    if not is_decodable(other.transfer_syntax):
        return True  # Nothing can be known of it, and the other one can be read.
    if other.missing_bytes:
        return _begins_alike(first, other)
    return _decodes_alike(first, other)


def _begins_alike(first: Header, cut: Header) -> bool:
    """Whether a file that ends early agrees with the whole one as far as it goes."""
    if cut.transfer_syntax != first.transfer_syntax or cut.transfer_syntax.is_compressed:
        return True
    from medseg.io.dicom.pixels import stored_bytes

    whole, part = stored_bytes(first.path), stored_bytes(cut.path)
    return whole.startswith(part)


def _decodes_alike(first: Header, other: Header) -> bool:
    """Whether the pixels of two complete files have the same values."""
    from medseg.io.dicom.pixels import decode  # SimpleITK takes long to import, and copies are rare

    try:
        pairs = zip(decode(first.frames or (first,)), decode(other.frames or (other,)), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)
    # Damaged pixels, or another number of frames.
    except (InputError, ValueError):
        return False
