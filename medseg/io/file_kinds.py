"""What a file is by its first bytes, for files that are not what their names say."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from medseg.errors import InputError

START_BYTES = 512
GZIP = b"\x1f\x8b"
POINTERS = (b"version https://git-lfs", b"/annex/objects/", b"../.git/annex/")
"""Begin of small text files that stand for an image: of Git LFS, of git-annex (DataLad)."""
MISSING = "missing_content"
FORMAT = "unsupported_format"
_ANALYZE_BYTES = {(348).to_bytes(4, "little"), (348).to_bytes(4, "big")}


class Kind(NamedTuple):
    """What a file is: reason code, what to call it, what to do with it."""

    code: str
    name: str
    advice: str


_POINTER = Kind(MISSING, "a pointer to content that is not here (Git LFS, git-annex)",
                "fetch it with git lfs pull, git annex get or datalad get")  # fmt: skip
_ARCHIVE = Kind("archive", "an archive", "unpack it")
_WEB_PAGE = Kind("corrupt_file", "a web page, as a failed download leaves", "download the file again")
NRRD = Kind(FORMAT, "an NRRD file", "rename it to .nrrd")
META_IMAGE = Kind(FORMAT, "a MetaImage file", "rename it to .mha")
_STARTS: dict[bytes, Kind] = {
    **dict.fromkeys(POINTERS, _POINTER),
    b"PK\x03\x04": _ARCHIVE._replace(name="a zip archive"),
    b"7z\xbc\xaf\x27\x1c": _ARCHIVE._replace(name="a 7z archive"),
    b"Rar!": _ARCHIVE._replace(name="a rar archive"),
    b"BZh": _ARCHIVE._replace(name="a file compressed by bzip2"),
    b"\xfd7zXZ": _ARCHIVE._replace(name="a file compressed by xz"),
    b"\x28\xb5\x2f\xfd": _ARCHIVE._replace(name="a file compressed by zstd"),
    b"\x1f\x9d": _ARCHIVE._replace(name="a file compressed by compress (.Z)"),
    GZIP: _ARCHIVE._replace(name="a file compressed twice by gzip"),
    b"NRRD": NRRD,
    b"ObjectType": META_IMAGE,
    b"# === DATA DESCRIPTION FILE": Kind(FORMAT, "a PAR/REC file of Philips", "convert it with dcm2niix"),
    b"MATRIX7": Kind(FORMAT, "an ECAT 7 file", "convert it to NIfTI"),
    b"\x89HDF": Kind(FORMAT, "an HDF5 or MINC file", "convert it to NIfTI"),
    b"CDF\x01": Kind(FORMAT, "a MINC file", "convert it to NIfTI"),
    b"%PDF": Kind(FORMAT, "a PDF document", "leave it out"),
    b"\x89PNG": Kind(FORMAT, "a PNG picture", "leave it out"),
}
_ANALYZE = Kind(FORMAT, "Analyze 7.5, which does not say which side is left", "convert it to NIfTI from its source")
NIFTI = Kind(FORMAT, "a NIfTI file", "rename it to .nii or .nii.gz")
_AFNI = Kind(FORMAT, "an AFNI file (HEAD and BRIK)", "convert it with 3dAFNItoNIFTI")
_PAIR = Kind(FORMAT, "NIfTI in two files (.hdr and .img)", "convert it to one .nii.gz file")


_PATTERNS = {
    rb"\s*<(!doctype html|html|\?xml)": _WEB_PAGE,
    rb".{128}DICM": Kind(FORMAT, "a DICOM file", "rename it to .dcm"),
    rb"\s*type\s*=\s*(string|integer|float)-attribute": _AFNI,
    rb".{344}n\+1|.{4}n\+2": NIFTI,
    rb".{344}ni1|.{4}ni2": _PAIR,
    rb".{257}ustar": _ARCHIVE._replace(name="a tar archive"),
}


def kind_of(start: bytes) -> Kind | None:
    """What a file that begins with `start` (at least `START_BYTES`, unless it is shorter) is; None: unknown."""
    for begin, kind in _STARTS.items():
        if start.startswith(begin):
            return kind
    if start[:4] in _ANALYZE_BYTES and len(start) >= 348 and start[344:347] not in (b"ni1", b"n+1"):
        return _ANALYZE
    return next(
        (kind for pattern, kind in _PATTERNS.items() if re.match(pattern, start, re.IGNORECASE | re.DOTALL)), None
    )


def is_pointer(start: bytes) -> bool:
    """Whether the file stands for content of a version control system."""
    return start.startswith(POINTERS)


def start_of(path: Path) -> bytes:
    """The first bytes of a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(START_BYTES)
    except OSError:
        return b""


def unpacked_start(path: Path) -> bytes:
    """The first bytes of a file, of one compressed by gzip of what it holds; nothing where it cannot be read."""
    start = start_of(path)
    if not start.startswith(GZIP):
        return start
    try:
        with gzip.open(path) as file:
            return file.read(START_BYTES)
    except (OSError, EOFError, zlib.error):
        return start


def no_permission(path: Path) -> InputError:
    """What a file is told that may not be read."""
    return InputError(f"{path.name}: no permission to read the file; ask its owner for it", code="no_permission")
