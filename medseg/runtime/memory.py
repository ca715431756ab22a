"""Freed memory is kept for the next step instead of being given back to the system and asked for again.

glibc hands large blocks and the free end of its heap back to the system at once. A network frees and allocates the same
hundreds of megabytes in every step; each time the system clears them anew, page by page (figures: benchmarks/README.md,
"Training").
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_KEPT = (2**31 - 1, 2**27)
"""Bytes of free heap that are kept, and from which on a block is mapped by itself."""
_USUAL = (2**26, 2**25)
"""The most that glibc's own thresholds rise to. They cannot be read, so afterwards these stay set."""
_lock = Lock()
_users = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, memory that the process frees stays with it; afterwards it is given back. Without glibc nothing changes.

    May be nested and entered by several threads: the last to leave gives the memory back. Outside the main thread glibc
    maps blocks of more than 64 MB by themselves all the same. What environment variables tell glibc is replaced.
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
    trim, mmap = thresholds
    if not libc.mallopt(_MMAP_THRESHOLD, mmap):  # glibc up to 2.34 takes no more than this
        libc.mallopt(_MMAP_THRESHOLD, _USUAL[1])
    libc.mallopt(_TRIM_THRESHOLD, trim)
    if thresholds == _USUAL:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process where it has mallopt(3)."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
