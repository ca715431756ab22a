"""Who may write into an output folder at the same time: any number of runs, or one renaming of labels, never both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import ConfigError
from medseg.model.record import RECORDS


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Hold the folder for a run that writes results; other runs, such as shards, may do so too.

    Raises:
        ConfigError: `medseg label` is rewriting the folder.
    """
    with _held(out, "LOCK_SH", "medseg label is rewriting it; run again when that has ended"):
        yield


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder for work that must not meet any other.

    Raises:
        ConfigError: a run is writing into the folder, or another renaming is.
    """
    with _held(out, "LOCK_EX", "another command is writing into it; run again when that has ended"):
        yield


@contextmanager
def _held(out: Path, kind: str, refusal: str) -> Iterator[None]:
    """A lock that goes with this process; where the file system or the platform has none, nothing is held."""
    try:
        import fcntl

        (out / RECORDS).mkdir(parents=True, exist_ok=True)
        file = (out / RECORDS / "busy").open("a")
    except (ImportError, OSError):
        yield
        return
    with file:
        try:
            fcntl.flock(file, getattr(fcntl, kind) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{out}: {refusal}") from None
        except OSError:  # some network drives
            pass
        yield
