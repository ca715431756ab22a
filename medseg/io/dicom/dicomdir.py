"""The files that a DICOMDIR lists (DICOM PS3.10, chapter 8): the table of contents of a CD or an export."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pydicom

from medseg.errors import ConfigError
from medseg.io.dicom.deflated import check_unpacked

log = logging.getLogger(__name__)

FILE_NAME = "DICOMDIR"
COMPONENT = re.compile(r"[^/\\:\0]+")
"""One folder or file name; a component that holds a separator could lead out of the folder."""


def is_dicomdir(path: Path) -> bool:
    """Whether the file is named as a DICOMDIR has to be."""
    return path.name.upper() == FILE_NAME and path.is_file()


def files_of_dicomdir(path: Path) -> list[Path]:
    """The listed files that are there, in the order of the list.

    Raises:
        ConfigError: it cannot be read, or a name in it leads out of its folder.
    """
    try:
        with path.open("rb") as stream:
            check_unpacked(stream, path.stat().st_size)
            records = pydicom.dcmread(stream).DirectoryRecordSequence
        names = [_components(record.ReferencedFileID) for record in records if record.get("ReferencedFileID")]
    # pydicom raises anything from KeyError to RecursionError on damaged files.
    except Exception as error:
        raise ConfigError(f"{path} cannot be read as a DICOMDIR, name its folder instead") from error
    for name in names:
        if any(part in {".", ".."} or not COMPONENT.fullmatch(part) for part in name):
            raise ConfigError(f"{path} lists a file outside its folder, expected names inside; name its folder instead")
    found = [file for name in names if (file := _existing(path.parent, name)) is not None]
    # A linked folder on the way leads out as well; linked files do not.
    if not all(file.parent.resolve().is_relative_to(path.parent.resolve()) for file in found):
        raise ConfigError(f"{path} lists a file behind a link that leads outside its folder; name its folder instead")
    if len(found) < len(names):
        log.warning("%d of the %d files that the DICOMDIR lists are missing", len(names) - len(found), len(names))
    return list(dict.fromkeys(found))


def _components(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value]  # type: ignore[attr-defined]


def _existing(folder: Path, name: list[str]) -> Path | None:
    """The file of that name; CDs may show their capitals as small letters."""
    candidates = (folder.joinpath(*name), folder.joinpath(*(part.lower() for part in name)))
    return next((path for path in candidates if path.is_file()), None)
