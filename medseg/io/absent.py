"""DICOM files whose content is not here or compressed file by file, and raw voxels that begin like DICOM."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from medseg.io.dicom.header import Header
from medseg.io.dicom.naming import relative
from medseg.io.dicom.rejections import Refusal
from medseg.io.file_kinds import MISSING, is_pointer, start_of
from medseg.io.names import safe_name, safe_text
from medseg.io.scan import Scan
from medseg.wording import count_of

_DICOM_SUFFIXES = (".dcm", ".ima")
_PACKED_SUFFIXES = tuple(
    suffix + packed for suffix in _DICOM_SUFFIXES for packed in (".gz", ".bz2", ".xz", ".zst", ".z")
)
_RAW_SUFFIXES = {".raw", ".zraw", ".img", ".bin", ".dat", ".npy", ".npz"}
_POINTER_BYTES = 1024
_MARK = slice(128, 132)


def is_raw(path: Path) -> bool:
    """Whether a file holds voxels without a header by its name, and is not marked as DICOM."""
    return path.suffix.lower() in _RAW_SUFFIXES and start_of(path)[_MARK] != b"DICM"


def is_missing(path: Path) -> bool:
    """Whether a DICOM file is a dead link, or a pointer that Git LFS or git-annex puts in its place."""
    if path.is_symlink() and not path.exists():
        return True
    is_small = path.suffix.lower() in _DICOM_SUFFIXES and path.stat().st_size < _POINTER_BYTES
    return is_small and is_pointer(start_of(path))


def is_accident(header: Header) -> bool:
    """Whether a header was read out of bytes that only look like DICOM: unmarked, and its class is no UID."""
    is_uid = re.fullmatch(r"[0-2](\.\d+)+", header.sop_class) is not None
    return not is_uid and start_of(header.path)[_MARK] != b"DICM"


def is_packed(path: Path) -> bool:
    """Whether a file is DICOM that was compressed as a file, by its name."""
    return path.name.lower().endswith(_PACKED_SUFFIXES)


def missing_series(paths: Iterable[Path], root: Path, *, keep_names: bool) -> list[Scan]:
    """One refused scan for each folder with DICOM files whose content is not here."""
    why = ("the content of {} of one folder is not here (dead links, or pointers of Git LFS), expected the "
           "images; fetch it with datalad get, git annex get or git lfs pull")  # fmt: skip
    return _folders(paths, root, Refusal(MISSING, why), "missing", keep_names=keep_names)


def packed_series(paths: Iterable[Path], root: Path, *, keep_names: bool) -> list[Scan]:
    """One refused scan for each folder with DICOM files that were compressed one by one."""
    why = "{} of one folder compressed one by one, expected plain DICOM; unpack"
    return _folders(paths, root, Refusal("archive", why), "compressed", keep_names=keep_names)


def _folders(paths: Iterable[Path], root: Path, refusal: Refusal, word: str, *, keep_names: bool) -> list[Scan]:
    scans = []
    for folder, group in groupby(sorted(paths), key=lambda path: path.parent):
        files, place = tuple(group), safe_text(relative(folder, root))
        digest = hashlib.sha256(place.encode()).hexdigest()[:10]
        name = safe_name(f"{place}/{word}") if keep_names and place != "." else f"{word}-{digest}"
        reason = refusal.reason.format(count_of(len(files), "DICOM file"))
        scans.append(Scan(name, files, "dicom", verdict=refusal.code, reason=reason))
    return scans
