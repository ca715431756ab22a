"""The text at the begin of NRRD and MetaImage files: what it says of place, unit and the file with the voxels."""

from __future__ import annotations

import math
import re
from pathlib import Path

from medseg.errors import InputError
from medseg.io.compressed import Packed
from medseg.io.file_kinds import FORMAT, no_permission

_MOST_BYTES = 2**16
_SPACES = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las", "left-posterior-superior", "lps",
    "right-anterior-superior-time", "rast", "left-anterior-superior-time", "last",
    "left-posterior-superior-time", "lpst",
}  # fmt: skip
"""Spaces of NRRD that mean a patient; the others (scanner-xyz, 3D-right-handed) do not say where left is."""
_MM = {"mm": 1.0, "millimeter": 1.0, "um": 0.001, "\u00b5m": 0.001, "\u03bcm": 0.001, "micron": 0.001, "cm": 10.0,
       "m": 1000.0, "meter": 1000.0, "": 1.0, "?": 1.0}  # fmt: skip


_NUMBERS_NRRD = ("space directions", "space origin")
_NUMBERS_META = ("transformmatrix", "rotation", "orientation", "offset", "position", "origin", "elementspacing",
                 "elementsize")  # fmt: skip


class TextHeader:
    """Fields by their names in small letters, and the length of the header."""

    def __init__(self, path: Path, fields: dict[str, str], n_bytes: int) -> None:
        self.path = path
        self.n_bytes = n_bytes
        self.fields = fields
        self.is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")

    def check_place(self) -> None:
        """Refuse a header that does not say where the voxels lie in the patient.

        Raises:
            InputError: ``no_geometry``.
        """
        if self.is_nrrd:
            needed = self.fields.get("space", "").lower() in _SPACES and "space directions" in self.fields
        else:
            needed = any(key in self.fields for key in ("transformmatrix", "rotation", "orientation"))
            needed = needed and any(key in self.fields for key in ("elementspacing", "elementsize"))
        if odd := self._odd_numbers():
            raise InputError(
                f"{self.path.name}: {odd}, so that the header does not say where the voxels lie, expected numbers; "
                "export it again",
                code="no_geometry",
            )
        if not needed:
            found = "space and space directions" if self.is_nrrd else "TransformMatrix and ElementSpacing"
            raise InputError(
                f"{self.path.name}: the header does not say where the voxels lie, expected {found}; export it again",
                code="no_geometry",
            )

    def _odd_numbers(self) -> str:
        """Which field of the place holds something else than numbers; libraries take such a value for 0 or 1."""
        for key in _NUMBERS_NRRD if self.is_nrrd else _NUMBERS_META:
            words = re.split(r"[\s(),]+", self.fields.get(key, "").strip("() "))
            n_none = sum(word == "none" for word in words)
            # NRRD has no direction for axes that are not of space.
            is_listed = n_none <= max(0, _whole(self.fields.get("dimension", "3")) - 3)
            odd = [word for word in words if word and not (word == "none" and is_listed) and not _is_finite(word)]
            if odd:
                return f"{key} holds {odd[0][:20]}"
        return ""

    def packed(self) -> Packed | None:
        """The compressed stream of the voxels; None where they are not compressed, or lie behind skipped lines.

        Raises:
            InputError: compressed by what SimpleITK does not unpack.
        """
        if self.is_nrrd:
            encoding = self.fields.get("encoding", "raw").lower()
            if encoding in ("bz2", "bzip2"):
                raise InputError(f"{self.path.name}: its voxels are compressed by bzip2, expected gzip or none; save "
                                 "it again with 3D Slicer", code=FORMAT)  # fmt: skip
            skips = ("line skip", "lineskip", "byte skip", "byteskip")
            is_packed = encoding in ("gz", "gzip") and not any(_whole(self.fields.get(key, "0")) for key in skips)
        else:
            is_packed = self.fields.get("compresseddata", "").lower() in ("true", "1", "t")
        data = self.data_path()
        return Packed(data or self.path, 0 if data else self.n_bytes) if is_packed else None

    @property
    def mm(self) -> float:
        """Millimetres of the unit that positions are given in.

        Raises:
            InputError: ``wrong_unit``.
        """
        told = self.fields.get("space units" if self.is_nrrd else "distanceunits", "")
        units = {word.strip('"').lower() for word in told.split()} or {""}
        if len(units) != 1 or not units <= _MM.keys():
            raise InputError(f"{self.path.name}: found the unit {told}, expected mm; convert the file",
                             code="wrong_unit")  # fmt: skip
        return _MM[units.pop()]

    def data_path(self) -> Path | None:
        """The file with the voxels; None when they follow the header.

        Raises:
            InputError: several files, or one in another folder.
        """
        told = self.fields.get("data file", self.fields.get("datafile", self.fields.get("elementdatafile", "LOCAL")))
        if told.upper() == "LOCAL":
            return None
        if told.upper().startswith("LIST") or "%" in told or "/" in told or "\\" in told:
            raise InputError(
                f"{self.path.name}: its voxels lie in several files or another folder, expected one file beside it; "
                "convert it to .nrrd or .mha",
                code=FORMAT,
            )
        return self.path.with_name(told)


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def read_text_header(path: Path) -> TextHeader:
    """Read the fields of an NRRD or MetaImage header.

    Raises:
        InputError: ``corrupt_file``, ``no_permission``.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_MOST_BYTES)
    except PermissionError:
        raise no_permission(path) from None
    except OSError as error:
        raise InputError(
            f"{path.name}: cannot be read ({error.strerror}); copy it again", code="corrupt_file"
        ) from None
    is_nrrd = start.startswith(b"NRRD")
    fields: dict[str, str] = {}
    n_bytes = 0
    for line in start.decode("utf-8", "surrogateescape").split("\n"):
        text = line.rstrip("\r")
        n_bytes += len(line.encode("utf-8", "surrogateescape")) + 1
        if is_nrrd and not text:
            break
        key, _, value = text.partition(":" if is_nrrd else "=")
        fields[key.strip().lower()] = value.strip()
        if not is_nrrd and key.strip().lower() == "elementdatafile":
            break
    is_meta = "ndims" in fields and "elementdatafile" in fields
    if not is_nrrd and not is_meta:
        raise InputError(f"{path.name}: not a readable image, though its name says so; export or copy it again",
                         code="corrupt_file")  # fmt: skip
    return TextHeader(path, fields, n_bytes)
