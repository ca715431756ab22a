"""Bodies of several parts (RFC 2046 5.1), written to files as they arrive: nothing is held in memory or cut short."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from medseg.io.pacs.base import Bounds

HEADER_BYTES = 1 << 16
"""Most bytes before the first part, and of the headers of a part."""


class BodyError(ValueError):
    """A body that is none of several parts, ends early, or holds more than it may; a clause without its subject."""


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts.

    Raises:
        BodyError: the content is of another type.
    """
    found = re.search(r';\s*boundary="?([^";\s]{1,70})"?', content_type, re.IGNORECASE)
    if not content_type.lower().startswith("multipart/related") or not found:
        raise BodyError("sent something else than DICOM files in parts (multipart/related)")
    return found[1].encode("latin-1", "replace")


def write_parts(chunks: Iterable[bytes], boundary: bytes, folder: Path, *, n_parts: int, bounds: Bounds) -> int:
    """Write each part into a file of its own; returns their number.

    Args:
        n_parts: how many there are to be.

    Raises:
        BodyError: the body ends before its closing boundary, or more comes than may.
    """
    body = _Body(chunks)
    delimiter, left = b"\r\n--" + boundary, bounds.series_bytes
    body.until(delimiter, _counted(lambda _: None, HEADER_BYTES))
    for number in range(n_parts + 1):
        if body.begins_with(b"--"):
            return number
        if number == n_parts:
            break
        body.until(b"\r\n\r\n", _counted(lambda _: None, HEADER_BYTES))
        path = folder / f"{number:06d}.dcm"
        with path.open("xb") as file:
            body.until(delimiter, _counted(file.write, min(left, bounds.instance_bytes)))
        left -= path.stat().st_size
    raise BodyError(f"sent more than the {n_parts} files that it said the series has")


def _counted(keep: Callable[[bytes], object], most: int) -> Callable[[bytes], None]:
    left = most

    def count(part: bytes) -> None:
        nonlocal left
        left -= len(part)
        if left < 0:
            raise BodyError(f"sent more than {most} bytes where no more may come")
        keep(part)

    return count


class _Body:
    """A body that is read from mark to mark."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray(b"\r\n")  # a boundary in the first line has no line before it

    def until(self, mark: bytes, keep: Callable[[bytes], None]) -> None:
        """Hand on all that comes before `mark`, and take the mark away."""
        while (at := self._held.find(mark)) < 0:
            self._hand_on(len(self._held) - len(mark) + 1, keep)
            self._held += self._more()
        self._hand_on(at, keep)
        del self._held[: len(mark)]

    def begins_with(self, mark: bytes) -> bool:
        while len(self._held) < len(mark):
            self._held += self._more()
        return self._held.startswith(mark)

    def _hand_on(self, n_bytes: int, keep: Callable[[bytes], None]) -> None:
        if n_bytes > 0:
            keep(bytes(self._held[:n_bytes]))
            del self._held[:n_bytes]

    def _more(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise BodyError("ended before the last file was complete")
