"""Deflated DICOM files (PS3.5 A.5), which pydicom unpacks as a whole: bombs are found out piece by piece before."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import InputError

MOST_RATIO, ALWAYS_BYTES, MOST_BYTES = 100, 1 << 26, 1 << 31
"""Times of its own size that a file may unpack to; what every file may, and what none may exceed."""
_HEAD, _PIECE = 1 << 12, 1 << 16


def check_unpacked(file: BinaryIO, n_bytes: int) -> None:
    """Refuse an open file of `n_bytes` that unpacks to far more than it has; it stands at its beginning afterwards.

    Raises:
        InputError: ``too_large``.
    """
    is_deflated = DeflatedExplicitVRLittleEndian.encode() in file.read(_HEAD)
    file.seek(0)
    if not is_deflated:
        return
    most = min(MOST_BYTES, max(ALWAYS_BYTES, MOST_RATIO * n_bytes))
    try:
        read_preamble(file, force=True)
        _read_file_meta_info(file)
        is_bomb = _unpacks_to_more(file, most)
    except Exception:  # it is damaged, and whoever reads it next says how
        is_bomb = False
    file.seek(0)
    if is_bomb:
        message = (
            f"the file unpacks to more than {most} bytes, expected at most {MOST_RATIO} times its own; export again"
        )
        raise InputError(message, code="too_large")


def _unpacks_to_more(file: BinaryIO, most: int) -> bool:
    stream, n_unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while packed := file.read(_PIECE):
        while packed:
            n_unpacked += len(stream.decompress(packed, 1 << 20))
            if n_unpacked > most:
                return True
            packed = stream.unconsumed_tail
    return False
