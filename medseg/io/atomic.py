"""Files and folders that appear whole or not at all.

Everything is written to a hidden temporary sibling, which then takes the place of the target by one rename.
An `OSError` (full disk, no permission) passes through unchanged: it concerns the machine, not the scan.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import ConfigError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` with the same suffixes; it replaces `path` when the block succeeds.

    When the block raises, the temporary is removed and `path` stays what it was. Missing parents are made.
    """
    target = path.resolve()
    temporary = _sibling(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_whole(path: Path, text: str) -> None:
    """Write UTF-8 `text` with Unix line ends."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def whole_folder(path: Path, *, marker: str) -> Iterator[Path]:
    """Yield an empty temporary sibling folder; it replaces the folder `path` when the block succeeds.

    Args:
        path: the folder to write.
        marker: name of a file that the folder is known by. An existing `path` that is neither empty nor holds
            this file is somebody else's and refused.

    Raises:
        ConfigError: `path` is a file, or a folder without `marker`.
    """
    target = path.resolve()
    _refuse_foreign(target, marker)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(target)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _exchange(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    old = _sibling(target)
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sibling(target: Path) -> Path:
    # The end of the name stays, so that writers that go by the suffix see the same one.
    return target.with_name(f".{secrets.token_hex(4)}.{target.name[-100:]}")


def _sync(path: Path) -> None:
    # Windows flushes only handles opened for writing.
    with path.open("rb+") as file:
        os.fsync(file.fileno())
