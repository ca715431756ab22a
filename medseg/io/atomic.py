"""Files and folders that appear whole or not at all, and what a killed process leaves of them.

Everything is written to a hidden temporary sibling, which then takes the place of the target by one rename.
The sibling's name says which process of which machine writes it, so that a later run can tell what was left
behind by a dead one. A folder takes two renames; `recover_folder` brings the old one back when a process died
between them. An `OSError` (full disk, no permission) becomes an `OutputError`: it concerns the machine, not
the scan.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from medseg.errors import ConfigError
from medseg.io.names import last_bytes
from medseg.runtime.disk import Need, writing_to

_MARK = ".medseg-tmp"
_OLD = ".medseg-old"
_STALE_S = 24 * 3600.0
"""Age from which the leftovers of other machines, whose processes cannot be asked, count as abandoned."""
_STARTED = time.time()


@contextmanager
def whole_file(path: Path, n_bytes: int = 0) -> Iterator[Path]:
    """Yield a temporary sibling of `path` with the same suffixes; it replaces `path` when the block succeeds.

    When the block raises, the temporary is removed and `path` stays what it was. Missing parents are made.

    Args:
        path: the file to write.
        n_bytes: about how many bytes it will have, for the message of a full disk; 0: unknown.

    Raises:
        OutputError: the file cannot be written.
    """
    target = path.resolve()
    temporary = _sibling(target)
    with writing_to(target, n_bytes) as need, _removed(temporary, need):
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync_folder(target.parent)


def write_text_whole(path: Path, text: str) -> None:
    """Write UTF-8 `text` with Unix line ends."""
    content = text.encode()
    with whole_file(path, len(content)) as temporary:
        temporary.write_bytes(content)


@contextmanager
def whole_folder(path: Path, *, marker: str, n_bytes: int = 0) -> Iterator[Path]:
    """Yield an empty temporary sibling folder; it replaces the folder `path` when the block succeeds.

    Args:
        path: the folder to write.
        marker: name of a file that the folder is known by. An existing `path` that is neither empty nor holds
            this file is somebody else's and refused.
        n_bytes: about how many bytes it will have, for the message of a full disk; 0: unknown.

    Raises:
        ConfigError: `path` is a file, or a folder without `marker`.
        OutputError: the folder cannot be written.
    """
    target = path.resolve()
    recover_folder(target)
    _refuse_foreign(target, marker)
    temporary = _sibling(target)
    with writing_to(target, n_bytes) as need, _removed(temporary, need):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _exchange(temporary, target)
        _sync_folder(target.parent)


@contextmanager
def scratch_folder(path: Path, *, is_private: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path` that goes with the block, or with the next run when the process is killed.

    Args:
        is_private: nobody else may look into it.
    """
    temporary = _sibling(path.resolve())
    with writing_to(path.parent):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(mode=0o700 if is_private else 0o777)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _removed(temporary: Path, need: Need) -> Iterator[None]:
    """Remove a temporary file or folder after the block, once what was written of it is known."""
    try:
        yield
    finally:
        with suppress(OSError):
            files = [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]
            need.written = sum(file.stat().st_size for file in files if file.is_file())
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def recover_folder(path: Path) -> None:
    """Bring back the folder that a process took away and died before it put the new one in its place."""
    target = path.resolve()
    old = _old_name(target)
    if not old.is_dir():
        return
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        return
    with suppress(OSError):  # another process was quicker
        old.rename(target)


def remove_leftovers(folder: Path, name: str | None = None, *, whoever: bool = False, deep: bool = False) -> None:
    """Remove temporaries below `folder` whose writer is dead.

    Args:
        name: only those of the file or folder of this name.
        whoever: also those of processes of other machines, whatever their age: for targets that only one process
            works on at a time.
        deep: search the folders below as well.
    """
    pattern = f"{_MARK}.*"
    for path in list(folder.rglob(pattern) if deep else folder.glob(pattern)):
        if (name is None or path.name.endswith(f".{last_bytes(name, 100)}")) and _is_abandoned(path, whoever=whoever):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_abandoned(path: Path, *, whoever: bool) -> bool:
    machine, pid = ([*path.name.removeprefix(_MARK).split("."), "", ""])[1:3]
    try:
        written = path.stat().st_mtime
    except OSError:
        return False
    if machine != _machine() or not pid.isdigit():
        return whoever or time.time() - written > _STALE_S
    if int(pid) == os.getpid():
        return written < _STARTED - 1  # an earlier process had the same number; file times are coarse
    return not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # signal 0 would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _machine() -> str:
    """Where process numbers mean the same: the host, since it was started, and on it the container.

    Containers often have one host name and always have numbers of their own, which begin at 1 again.
    """
    places = [platform.node()]
    with suppress(OSError):  # Linux only
        places += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256(" ".join(places).encode()).hexdigest()[:6]


def _refuse_foreign(target: Path, marker: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ConfigError(f"{target} is a file where a folder is to be written; give another name")
    if not (target / marker).exists() and any(target.iterdir()):
        raise ConfigError(f"{target} holds other files and no {marker}; give a new or an empty folder")


def _exchange(new: Path, target: Path) -> None:
    """Put folder `new` in the place of `target`; the old one comes back when that fails."""
    if not target.exists():
        new.rename(target)
        return
    old = _old_name(target)
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        recover_folder(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _old_name(target: Path) -> Path:
    return target.with_name(f"{_OLD}.{last_bytes(target.name, 100)}")


def _sibling(target: Path) -> Path:
    # The end of the name stays, so that writers that go by the suffix see the same one.
    return target.with_name(f"{_MARK}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}.{last_bytes(target.name, 100)}")


def _sync(path: Path) -> None:
    # Windows flushes only handles opened for writing.
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be flushed at all."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
