"""Where the voxels of a NIfTI file lie: its sform, its qform and its unit, which need not agree."""

from __future__ import annotations

from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.io.nifti_header import NiftiFile

FloatArray = npt.NDArray[np.float64]
MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of the spatial units of the standard: unknown (taken for mm), metre, mm, micron."""
_UNIT_NAMES = {1: "metres", 3: "microns"}
LARGEST_VOXEL_MM = 100.0
"""A header in metres with larger voxels means millimetres: nobody can know."""
FAR_VOXELS = 0.25
"""Distance between sform and qform, in voxels, from which they are two places.

Also where the codes say that each is meant (2 and 1, as SPM writes after coregistration): ITK and nibabel
would show the scan at different places, and labels, which have one, beside it in one of them.
"""
ODD_VOXELS = 0.1
"""Distance from which it is said; the rotation of a qform in single precision is off by less."""


class Placement(NamedTuple):
    """Affine from voxel indices to RAS+ mm, and what is odd about it without harm."""

    affine: FloatArray
    notes: tuple[str, ...]


def place_of(file: NiftiFile, *, or_centred: bool = False) -> Placement:
    """Where the header says that the voxels lie.

    Args:
        or_centred: place a file of which nothing is said at the centre of its own grid, as nibabel does.

    Raises:
        InputError: ``two_places``, ``no_geometry`` or ``wrong_unit``.
    """
    codes = int(file.header["sform_code"]), int(file.header["qform_code"])
    if max(codes) <= 0:
        if not or_centred:
            raise InputError(
                f"{file.name}: qform and sform code are both 0, so the header does not say where the voxels lie; "
                "set the sform with the tool that made the file",
                code="no_geometry",
            )
        affine: FloatArray = np.asarray(file.header.get_base_affine())
        notes: tuple[str, ...] = ()
    else:
        affine, notes = _chosen(file, codes)
    scale, said = _mm(file, affine)
    return Placement(np.diag([scale] * 3 + [1.0]) @ affine, (*notes, *said))


def _chosen(file: NiftiFile, codes: tuple[int, int]) -> tuple[FloatArray, tuple[str, ...]]:
    """The form that counts, in the unit of the header.

    Raises:
        InputError: ``two_places``, or ``no_geometry`` where neither is sound.
    """
    sform = np.asarray(file.header.get_sform(), dtype=np.float64)
    qform = _qform(file)
    is_sound = codes[0] > 0 and _is_sound(sform), codes[1] > 0 and _is_sound(qform)
    if all(is_sound):
        return sform, _compare(file, sform, qform, codes)
    if is_sound[0]:
        odd = f"the qform (code {codes[1]}) places nothing, the sform is used" if codes[1] > 0 else _sizes(file, sform)
        return sform, (odd,) if odd else ()
    if is_sound[1]:
        odd = f"the sform (code {codes[0]}) places nothing, the qform is used" if codes[0] > 0 else ""
        return qform, (odd,) if odd else ()
    forms = " and ".join(
        f"{name} (code {code})" for name, code in zip(("sform", "qform"), codes, strict=True) if code > 0
    )
    raise InputError(
        f"{file.name}: the {forms} of the header places nothing (zeros, NaN or axes in one plane), expected an "
        "invertible one; set the sform with the tool that made the file",
        code="no_geometry",
    )


def _qform(file: NiftiFile) -> FloatArray:
    """The affine of the qform; zeros where its quaternion or its voxel sizes are none."""
    try:
        found = np.asarray(file.header.get_qform(), dtype=np.float64)
    except (nib.spatialimages.HeaderDataError, ValueError):
        found = np.zeros((4, 4))
    is_told = np.isfinite(file.pixdim).all() and 0 not in file.pixdim
    return found if is_told and np.isfinite(found).all() else np.zeros((4, 4))


def _is_sound(affine: FloatArray) -> bool:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def _compare(file: NiftiFile, sform: FloatArray, qform: FloatArray, codes: tuple[int, int]) -> tuple[str, ...]:
    """What is said of a small distance between the two forms.

    Raises:
        InputError: ``two_places`` for a large one.
    """
    last = np.maximum([*file.shape, 1, 1, 1][:3], 1) - 1
    corners = np.array([[a, b, c, 1] for a in (0, last[0]) for b in (0, last[1]) for c in (0, last[2])])
    apart = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
    voxel = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    scale = MM_OF_UNIT.get(_unit(file), 1.0)
    forms = f"sform (code {codes[0]}) and qform (code {codes[1]})"
    is_mirrored = bool(np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0)
    if is_mirrored or apart > FAR_VOXELS * voxel:
        mirrored = ", mirrored to each other" if is_mirrored else ""
        cause = " (as coregistration by SPM leaves them)" if codes == (2, 1) else ""
        raise InputError(
            f"{file.name}: found {forms} up to {scale * apart:.4g} mm apart{mirrored}{cause}, expected one place, "
            "because tools differ in which they follow; set the code of the wrong one to 0, or copy the right one over "
            "it",
            code="two_places",
        )
    if apart <= ODD_VOXELS * voxel:
        return ()
    return (f"{forms} are up to {scale * apart:.2g} mm apart, less than a quarter of a voxel; the sform is used",)


def _sizes(file: NiftiFile, sform: FloatArray) -> str:
    """What is said of voxel sizes that an sform without qform contradicts."""
    told = np.asarray(file.pixdim)
    found = np.linalg.norm(sform[:3, :3], axis=0)
    if np.allclose(told, found, rtol=0.01):
        return ""
    sizes = ["x".join(f"{x:.4g}" for x in values) for values in (told, found)]
    return f"pixdim gives voxels of {sizes[0]}, the sform of {sizes[1]}; the sform is used"


def _unit(file: NiftiFile) -> int:
    return int(file.header["xyzt_units"]) & 7


def _mm(file: NiftiFile, affine: FloatArray) -> tuple[float, tuple[str, ...]]:
    """Millimetres of the header's unit, and what is said of it.

    Raises:
        InputError: ``wrong_unit`` for metres that cannot be.
    """
    unit = _unit(file)
    if unit not in MM_OF_UNIT:
        return 1.0, (f"the unit of the header is {unit}, which the standard does not know, and taken for mm",)
    scale = MM_OF_UNIT[unit]
    voxel: Any = np.linalg.norm(affine[:3, :3], axis=0).max() * scale
    if unit == 1 and voxel >= LARGEST_VOXEL_MM:
        raise InputError(f"{file.name}: the unit of the header is the metre, so that a voxel measures {voxel:.4g} mm, "
                         "expected millimetres; set xyzt_units to 2 if it means these", code="wrong_unit")  # fmt: skip
    said = (f"the unit of the header is {_UNIT_NAMES[unit]}; brought to mm",) if unit in _UNIT_NAMES else ()
    return scale, said
