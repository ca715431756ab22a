"""The text at the begin of NRRD and MetaImage files: what it says of place, unit and the file with the voxels."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import InputError
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


class TextHeader:
    """Fields by their names in small letters."""

    def __init__(self, path: Path, fields: dict[str, str]) -> None:
        self.path = path
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
        if not needed:
            found = "space and space directions" if self.is_nrrd else "TransformMatrix and ElementSpacing"
            raise InputError(
                f"{self.path.name}: the header does not say where the voxels lie, expected {found}; export it again",
                code="no_geometry",
            )

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
    for line in start.decode("utf-8", "surrogateescape").split("\n"):
        text = line.rstrip("\r")
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
    return TextHeader(path, fields)
