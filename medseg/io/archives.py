"""Files whose images medseg does not read, named for what they are: archives, compressed NIfTI, other formats."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path
from typing import IO

from medseg.errors import InputError
from medseg.io.file_kinds import FORMAT, MISSING, kind_of, no_permission, start_of, unpacked_start

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
COMPRESSED = (".nii.bz2", ".nii.xz", ".nii.zst", ".nii.z", ".nii.lz4")
FORMATS = (".hdr", ".hdr.gz", ".mnc", ".par", ".head", ".v")
NAMED_SUFFIXES = (*COMPRESSED, *ARCHIVES, *FORMATS)
"""Of files that are refused by name where they hold images; any other file of such a name is nothing."""
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".dcm", ".ima", "dicomdir")
_MOST_MEMBERS, _MOST_BYTES = 1000, 2**26
"""How far a tar archive is looked through: it has no table of contents."""
_PEEKED = 20
_MARK = slice(128, 132)


def named(path: Path) -> InputError | None:
    """The refusal of a file with one of `NAMED_SUFFIXES`; None for one that holds no image."""
    name = path.name.lower()
    try:
        path.open("rb").close()
    except PermissionError:
        return no_permission(path)
    except OSError:
        return None
    if name.endswith(ARCHIVES):
        return _archive(path)
    kind = kind_of(unpacked_start(path))
    is_compressed = name.endswith(COMPRESSED)
    if is_compressed and kind is None:
        return InputError(f"{path.name}: found an unknown kind of file, expected compressed NIfTI as its name says; "
                          "unpack it or export it again", code="corrupt_file")  # fmt: skip
    if kind is None or (not is_compressed and kind.code not in (FORMAT, MISSING)):
        return None
    wanted = "NIfTI that is not compressed, or by gzip" if is_compressed else "one file of a known format"
    return InputError(f"{path.name}: found {kind.name}, expected {wanted}; {kind.advice}", code=kind.code)


def _archive(path: Path) -> InputError | None:
    kind = kind_of(start_of(path))
    if kind is not None and kind.code == MISSING:
        return InputError(f"{path.name}: found {kind.name}, expected files; {kind.advice}", code=kind.code)
    if path.suffix.lower() in (".7z", ".rar"):
        return InputError(f"{path.name}: found {kind.name}, whose content cannot be looked at, expected files; unpack "
                          "it, or --exclude it", code="archive") if kind else None  # fmt: skip
    if path.suffix.lower() == ".zip":
        n_images = _in_zip(path)
        what = f"a zip archive with {n_images} {'image' if n_images == 1 else 'images'}"
    else:
        n_images, what = _in_tar(path), "a tar archive with images"
    return InputError(f"{path.name}: found {what}, expected files; unpack it", code="archive") if n_images else None


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES)


def _in_zip(path: Path) -> int:
    """How many images a zip archive holds; of files without an ending the first few are looked at for DICOM."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            bare = [name for name in names if not Path(name).suffix]
            marks = [_is_dicom(archive, name) for name in bare[:_PEEKED]]
            return sum(map(_is_image, names)) + (len(bare) if any(marks) else 0)
    except (OSError, ValueError, zipfile.BadZipFile):
        return 0


def _is_dicom(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as file:
            return _is_marked(file)
    # Encrypted, of an unknown method, or damaged.
    except (OSError, RuntimeError, NotImplementedError, EOFError, zlib.error, zipfile.BadZipFile):
        return False


def _in_tar(path: Path) -> int:
    """Whether a tar archive begins with images: 1 or 0."""
    try:
        with tarfile.open(path, "r|*") as archive:
            return int(any(_is_image(member.name) for member in _first(archive)))
    except (OSError, EOFError, tarfile.TarError, LZMAError, zlib.error):
        return 0


def _first(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(archive):
        yield member
        if number == _MOST_MEMBERS or member.offset_data + member.size > _MOST_BYTES:
            return


def _is_marked(file: IO[bytes]) -> bool:
    return file.read(_MARK.stop)[_MARK] == b"DICM"
