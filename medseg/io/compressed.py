"""Compressed voxels, unpacked only as a whole: what a checksum contradicts is damaged, however much of it unpacks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

_PIECE = 2**20
_GZIP_OR_ZLIB = 47
_GZIP = b"\x1f\x8b"


class Packed(NamedTuple):
    """Where a compressed stream lies: the file, and the byte at which the stream begins."""

    path: Path
    offset: int = 0


def unpacked(packed: Packed, n_bytes: int) -> bytearray:
    """The first `n_bytes` that a gzip or zlib stream holds.

    Further members of gzip are read as far as they are needed; what follows the stream is no part of it.

    Raises:
        EOFError: the stream ends early, or holds less.
        zlib.error: it is damaged, or is none.
    """
    content, filled = bytearray(n_bytes), 0
    with packed.path.open("rb") as file:
        file.seek(packed.offset)
        for piece in _pieces(file, n_bytes):
            taken = piece[: n_bytes - filled]
            content[filled : filled + len(taken)] = taken
            filled += len(taken)
    if filled < n_bytes:
        raise EOFError(f"found {filled} bytes, expected {n_bytes}")
    return content


def check_whole(packed: Packed, n_bytes: int) -> None:
    """Refuse a stream that ends early, is damaged or holds less than `n_bytes`; errors as of `unpacked`."""
    with packed.path.open("rb") as file:
        file.seek(packed.offset)
        found = sum(len(piece) for piece in _pieces(file, n_bytes))
    if found < n_bytes:
        raise EOFError(f"found {found} bytes, expected {n_bytes}")


def _pieces(file: IO[bytes], n_bytes: int) -> Iterator[bytes]:
    """What each member holds, to the end of the one with byte `n_bytes`, whose checksum zlib compares there."""
    left, found = b"", 0
    while found < n_bytes:
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        while not member.eof:
            left = left or file.read(_PIECE)
            if not left:
                raise EOFError("the compressed voxels end early")
            piece = member.decompress(left, _PIECE)
            left = member.unconsumed_tail
            found += len(piece)
            yield piece
        left = (member.unused_data or file.read(_PIECE)).lstrip(b"\0")
        if not left.startswith(_GZIP):
            return
