"""Places where files are written: what is wrong with one that cannot be written, said in one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from medseg.errors import OutputError

PROBE_BYTES = 2**16
"""What is written to find out whether anything can be."""
_UNKNOWN_THERE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems answer that cannot set room aside."""
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class _Fault(NamedTuple):
    """What an error of the file system means: reason code, what was found, what to do."""

    code: str
    found: str
    advice: str


_DISK = _Fault("disk_failed", "the disk or network share failed", "check it, then give the same command again")
_DENIED = _Fault("no_write_permission", "no permission to write", "ask its owner for it, or give another place")
_FILES = _Fault("machine", "too many open files", "raise the limit (ulimit -n), then give the same command again")
_FAULTS: dict[int, _Fault] = {
    errno.ENOSPC: _Fault("disk_full", "the disk is full", "free space there or give another place, then give the same "
                         "command again: what is whole stays"),
    errno.EDQUOT: _Fault("over_quota", "the disk quota is used up", "delete files or have the quota raised, then give "
                         "the same command again: what is whole stays"),
    errno.EROFS: _Fault("read_only", "the file system can only be read", "give another place"),
    errno.EFBIG: _Fault("machine", "the file is larger than the file system or ulimit -f allows", "raise the limit or "
                        "give another place"),
    errno.ENAMETOOLONG: _Fault("bad_name", "the name or path is too long for the file system", "give a shorter path or "
                               "rename the scan"),
    errno.EISDIR: _Fault("machine", "a folder lies where the file belongs", "move it away"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST),
                    _Fault("machine", "a file lies where a folder belongs", "move it away")),
    errno.ENOENT: _Fault("machine", "the folder is gone", "bring it back, then give the same command again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _DENIED),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN,
                     errno.EREMOTEIO, errno.EHOSTDOWN), _DISK),
}  # fmt: skip
EVERYWHERE = frozenset({"disk_full", "over_quota", "read_only", "disk_failed"})
"""Codes of what befalls every other file there too, so that a run need not go on."""


@dataclass
class Need:
    """How many bytes a place takes, as far as known.

    Attributes:
        about: 0: unknown.
        written: what was there of it when it could go no further.
    """

    about: int = 0
    written: int = 0

    @property
    def text(self) -> str:
        """For a message; empty when nothing is known."""
        if self.about:
            return f", about {size_text(self.about)} are needed"
        return f", more than {size_text(self.written)} are needed" if self.written else ""


@contextmanager
def writing_to(place: Path, n_bytes: int = 0) -> Iterator[Need]:
    """Turn an `OSError` that is raised inside into an `OutputError`.

    Args:
        place: file or folder that is written, for the message.
        n_bytes: about how many bytes it takes; 0: unknown.

    Raises:
        OutputError: `place` cannot be written.
    """
    need = Need(n_bytes)
    try:
        yield need
    except OSError as error:
        if error.errno is None:  # not of the file system: such as a damaged archive
            raise
        raise output_error(error, place, need) from error


def output_error(error: OSError, place: Path, need: Need | None = None) -> OutputError:
    """What is to be said of a `place` that could not be written."""
    told = os.strerror(error.errno) if error.errno else type(error).__name__
    fault = _FAULTS.get(error.errno or 0) or _Fault("machine", told, "give another place")
    found = fault.found
    if fault.code == "disk_full":
        found += _room(place, need or Need())
    elif fault.code == "disk_failed":
        found += f" ({told})"
    return OutputError(f"cannot be written: {found}; {fault.advice}", code=fault.code, place=place)


def _room(place: Path, need: Need) -> str:
    """What is free and what is needed there."""
    folder = next((folder for folder in (place, *place.parents) if folder.is_absolute() and folder.is_dir()), None)
    if folder is None:
        return f" ({need.text.removeprefix(', ')})" if need.text else ""
    if _has_no_file_left(folder):
        return " (it has room for no further file: no inode is free)"
    return f" ({size_text(free_bytes(folder))} are free{need.text})"


def free_bytes(folder: Path) -> int:
    """What a user may still write there."""
    return shutil.disk_usage(folder).free


def _has_no_file_left(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    found = os.statvfs(folder)
    return found.f_files > 0 and found.f_favail == 0


def size_text(n_bytes: float) -> str:
    """A size for people, in powers of 1000: ``4.2 MB``."""
    number, unit = float(n_bytes), 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if number >= 9.95 or unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def lost_write(path: Path) -> OSError:
    """Why a library that does not say it could not write `path` whole: found by writing a little more there."""
    try:
        with path.open("ab") as file:
            file.write(b"\0" * PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def reserve(descriptor: int, n_bytes: int) -> None:
    """Have the file system set room aside for an open file: a mapped file that runs out of it ends the process.

    Raises:
        OSError: there is no room.
    """
    if not hasattr(os, "posix_fallocate") or n_bytes <= 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in _UNKNOWN_THERE:
            raise
