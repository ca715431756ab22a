"""The files that a folder, a DICOMDIR or a list of paths stands for."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from medseg.errors import ConfigError
from medseg.io.dicom.dicomdir import files_of_dicomdir, is_dicomdir
from medseg.io.dicom.naming import absolute

LIST_SUFFIX = ".txt"
ANNEX = ".git/annex/objects/"
_LINKED = re.compile(r".*\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|mgz|mgh|dcm|ima)", re.IGNORECASE)
"""Names of links that stand for images even where their target is not there."""


def entries_of(source: Path) -> list[Path]:
    """The paths in a list, each once; anything else stands for itself.

    Raises:
        ConfigError: the list is not there, cannot be read or is empty.
    """
    if source.suffix.lower() != LIST_SUFFIX:
        return [source]
    _check_entry(source)
    if not source.is_file():
        return [source]
    try:
        lines = re.split(r"\r?\n", _decoded(source.read_bytes()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{source} cannot be read ({error}), expected a text file of paths; check the file"
        ) from error
    paths = [source.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise ConfigError(f"{source} is empty, expected one path a line; write the paths of the scans into it")
    return list(dict.fromkeys(paths))


def _decoded(content: bytes) -> str:
    """Text of UTF-8, or of UTF-16 with its mark as Windows writes it; names may hold bytes that are no UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))


def root_of(source: Path, entries: Sequence[Path]) -> Path:
    """The folder to which ids are relative.

    Raises:
        ConfigError: an entry does not exist, cannot be looked at, or is neither file nor folder.
    """
    for entry in entries:
        _check_entry(entry)
    if list(entries) == [source]:
        return source if source.is_dir() else source.parent
    folders = [entry if entry.is_dir() else entry.parent for entry in entries]
    if all(absolute(folder).is_relative_to(absolute(source.parent)) for folder in folders):
        return source.parent
    return Path(os.path.commonpath([absolute(folder) for folder in folders]))


def _check_entry(entry: Path) -> None:
    try:
        is_there, is_usual = entry.exists() or is_dead_link(entry), entry.is_file() or entry.is_dir()
    except OSError as error:  # too long a name, a circle of links, no permission
        raise ConfigError(f"{str(entry)[:200]} cannot be looked at ({error.strerror}); check the path") from None
    if not is_there:
        raise ConfigError(f"{entry} does not exist, expected a folder, NIfTI or DICOM file; check the path")
    if not is_usual and not is_dead_link(entry):
        raise ConfigError(f"{entry} is a pipe or a device, expected a folder, NIfTI or DICOM file; check the path")


def below(entry: Path) -> Iterable[Path]:
    """The files that a folder or a DICOMDIR stands for."""
    if is_dicomdir(entry):
        return files_of_dicomdir(entry)
    return _walk(entry) if entry.is_dir() else ()


def is_dead_link(path: Path) -> bool:
    """Whether an image is linked whose content is not there, as git-annex and DataLad leave it."""
    if not path.is_symlink() or path.exists():
        return False
    # DICOM files often have no suffix; of other dead links nobody knows whether they were images.
    return _LINKED.fullmatch(path.name) is not None or (not path.suffix and ANNEX in path.readlink().as_posix())


def _walk(folder: Path) -> Iterable[Path]:
    """Every regular file and every image linked below a folder, hidden files and folders left out."""
    for parent, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and (path.is_file() or is_dead_link(path)):
                yield path


def _refuse_folder(error: OSError) -> NoReturn:
    raise ConfigError(
        f"{error.filename} cannot be listed ({error.strerror}), expected a readable folder; check its permissions"
    ) from error
