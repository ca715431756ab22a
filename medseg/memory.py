"""Freed memory is kept for the next step instead of being given back to the system and asked for again.

glibc hands large blocks and the free end of its heap back to the system at once. A network frees and allocates the same
hundreds of megabytes in every step; each time the system clears them anew, page by page, which takes up to a third of a
training step on a CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_KEPT = (2**31 - 1, 2**29)
"""Bytes of free heap that are kept, and from which on a block is mapped by itself."""
_USUAL = (2**26, 2**25)
"""What glibc's own thresholds rise to as soon as a large block was freed once."""
_lock = Lock()
_users = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, memory that the process frees stays with it; afterwards it is given back. Without glibc nothing changes.

    May be nested and entered by several threads: the last to leave gives the memory back.
    """
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(step: int) -> None:
    global _users
    with _lock:
        before, _users = _users, _users + step
        if not before or not _users:
            _set(_KEPT if _users else _USUAL)


def _set(thresholds: tuple[int, int]) -> None:
    libc = _glibc()
    if libc is None:
        return
    for parameter, value in zip((_TRIM_THRESHOLD, _MMAP_THRESHOLD), thresholds, strict=True):
        libc.mallopt(parameter, value)
    if thresholds == _USUAL:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process where it has mallopt(3)."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
