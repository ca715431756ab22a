"""What is said when the machine, not the user's words or a scan, is at fault: no memory, no room, no permission."""

from __future__ import annotations

from pathlib import Path

from medseg.batch.resources import total_memory
from medseg.errors import ConfigError
from medseg.runtime.disk import output_error, size_text
from medseg.runtime.limits import is_out_of_memory, limits_text, memory_limits

LEAST = {"ulimit -v": 1_800_000_000, "ulimit -d": 700_000_000}
"""PyTorch and the readers take 1.4 GB of address space before any scan is read, 0.6 of it their own."""
LEAST_MEMORY = 700_000_000
STANDARD_OUTPUT = "standard output"
"""What is written by `print`, which names no file in its errors."""


def check_memory() -> None:
    """Refuse a machine on which not even the libraries can be loaded: they end the process without a word.

    Raises:
        ConfigError: the limit and what is expected.
    """
    for name, limit in memory_limits().items():
        if limit < LEAST[name]:
            raise ConfigError(
                f"memory: found a limit of {size_text(limit)} ({name}), expected at least {size_text(LEAST[name])} and "
                "more for the scans; raise it, or ask your scheduler for more"
            )
    memory = total_memory()
    if 0 < memory < LEAST_MEMORY:
        raise ConfigError(
            f"memory: found {size_text(memory)} for this machine, container or job, expected at least "
            f"{size_text(LEAST_MEMORY)} and more for the scans; give it more"
        )


def told_of(error: Exception) -> str | None:
    """One sentence about an exception that is the machine's fault; None for anything else, which is a bug."""
    if is_out_of_memory(error):
        return _no_memory()
    if isinstance(error, OSError) and error.errno is not None:
        return str(output_error(error, Path(error.filename or STANDARD_OUTPUT)))
    return None


def _no_memory() -> str:
    limits = limits_text()
    found = limits or f"found {size_text(total_memory())} in all"
    wanted = "raise the limit" if limits else "use a larger machine"
    return (
        f"memory: it is used up, {found}; {wanted}, or take smaller or fewer scans, then give the same command again: "
        "what is whole stays"
    )
