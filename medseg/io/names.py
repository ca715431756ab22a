"""Names of scans that every file system, table and terminal can hold, made of names that may be anything."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

MOST_BYTES = 180
"""Of each part of a name: a file name has 255, of which endings and temporary files need some."""
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, bytes that are no UTF-8, separators of lines and paragraphs."""


def safe_text(text: str) -> str:
    """The text as Unicode on one line: a byte that is no UTF-8 becomes ``_xE9``, a control character ``_``."""
    return "".join(_safe_letter(letter) for letter in text)


def safe_name(name: str) -> str:
    """A name with ``/`` whose parts are safe and short enough to be names of files; most names stay as they are."""
    return "/".join(_short(safe_text(part)) for part in name.split("/"))


def safe_path(path: Path) -> Path:
    """The path as text that can be encoded; it leads to no file when it differs."""
    return Path(safe_text(str(path)))


def last_bytes(name: str, most: int) -> str:
    """The end of a file name, in at most so many bytes, cut between letters."""
    return os.fsencode(name)[-most:].decode("utf-8", "ignore")


def _safe_letter(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSAFE:
        return letter
    is_byte = "\udc80" <= letter <= "\udcff"
    return f"_x{ord(letter) - 0xDC00:02X}" if is_byte else "_"


def _short(part: str) -> str:
    encoded = part.encode()
    if len(encoded) <= MOST_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: MOST_BYTES - 9].decode('utf-8', 'ignore')}-{digest}"
