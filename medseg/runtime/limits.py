"""Limits of a process (getrlimit(2)), and errors that mean that its memory is used up."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator

from medseg.runtime.disk import size_text

_TELLING = re.compile(
    r"allocate memory|bad allocation|bad_alloc|failed to allocate|unable to allocate|out of memory"
    r"|can't start new thread|failed to map segment|cannot enable executable stack",
    re.IGNORECASE,
)
"""Of messages of torch, ITK, the dynamic linker and Python's threads, which have no kind of error for it."""
_KINDS = (RuntimeError, ImportError, OSError)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that led to it, says that memory or address space is used up."""
    return any(_says_so(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN)):
        return True
    # PyTorch's own kind for GPUs is a RuntimeError with such a message.
    return isinstance(error, _KINDS) and _TELLING.search(str(error)) is not None


def memory_limits() -> dict[str, int]:
    """Bytes that this process may take, by the words of the shell that set them; empty without a limit.

    ``ulimit -v`` bounds the address space, ``ulimit -d`` what of it is the process's own.
    """
    if sys.platform == "win32":
        return {}
    import resource

    limits = {"ulimit -v": resource.RLIMIT_AS, "ulimit -d": resource.RLIMIT_DATA}
    found = {name: resource.getrlimit(kind)[0] for name, kind in limits.items()}
    return {name: limit for name, limit in found.items() if limit != resource.RLIM_INFINITY}


def limits_text() -> str:
    """The limits for a message: ``ulimit -v allows 2.0 GB``; empty without any."""
    return ", ".join(f"{name} allows {size_text(limit)}" for name, limit in memory_limits().items())
