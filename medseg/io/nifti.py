"""NIfTI files in: judged by their header, read strictly, refused in one sentence."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.io.label_like import is_label_map, refuse_label_map
from medseg.io.nifti_header import READ_ERRORS, NiftiFile, open_nifti
from medseg.io.nifti_place import place_of
from medseg.io.precision import to_single
from medseg.io.scan import MAX_VOXELS, Scan
from medseg.io.sidecars import sidecar_of
from medseg.runtime.limits import is_out_of_memory
from medseg.spatial.geometry import Geometry

_LOG = logging.getLogger(__name__)
LARGEST_MM = 1e6
"""No scanner places a voxel further from the origin; headers in single precision would be off by 0.06 mm."""
MAX_DEFLATE_RATIO = 1032
"""gzip cannot shrink anything by more."""


def judge_nifti(path: Path, scan_id: str, *, place: str = "", is_scan: bool = False) -> Scan:
    """Judge one NIfTI file by its header, and by its voxels whether it is a label map; never raises for a bad file.

    Args:
        place: the path below the folder searched, whose names hint at label maps; the file's name when empty.
        is_scan: somebody says that it is no label map.
    """
    try:
        file = open_nifti(path)
        if not is_scan and is_label_map(file.stored(), place or path.name):
            raise refuse_label_map(path.name)
        geometry, notes = header_geometry(file)
    except InputError as error:
        return Scan(scan_id, (path,), "nifti", verdict=error.code, reason=str(error))
    facts, said = sidecar_of(path)
    note = "; ".join((*file.notes, *notes))
    return Scan(scan_id, (path,), "nifti", geometry=geometry, note=note, facts=facts, free_text=said)


def header_geometry(file: NiftiFile) -> tuple[Geometry, tuple[str, ...]]:
    """The grid that a NIfTI header promises, and what is odd about it without harm.

    Raises:
        InputError: the header does not describe one regular grey-value volume.
    """
    shape = grey_shape(file)
    _check_promise(file)
    affine, notes = place_of(file)
    return checked_geometry(shape, affine, file.name), notes


def grey_shape(file: NiftiFile) -> tuple[int, int, int]:
    """(I, J, K) of one volume of grey values.

    Raises:
        InputError: ``colour``, ``several_volumes`` or ``not_a_volume``.
    """
    dtype = file.header.get_data_dtype()
    if dtype.fields is not None or dtype.kind == "c":
        raise InputError(
            f"{file.name}: found RGB or complex voxels, expected one grey value each; convert it", code="colour"
        )
    return volume_shape(file.shape, file.name)


def checked_geometry(shape: tuple[int, int, int], affine: np.ndarray[Any, Any], name: str) -> Geometry:
    """A grid that label files can carry.

    Raises:
        InputError: ``no_geometry`` or ``sheared_affine``.
    """
    try:
        geometry = Geometry(shape, affine)
    except ValueError as error:
        raise InputError(f"{name}: {error}; repair the header", code="no_geometry") from None
    furthest_mm = float(np.abs(geometry.affine[:3] @ [0, 0, 0, 1]).max())
    if furthest_mm > LARGEST_MM:
        raise InputError(f"{name}: the header places the first voxel {furthest_mm:.3g} mm from the origin, expected at "
                         f"most {LARGEST_MM:.0e} mm; repair the header", code="no_geometry")  # fmt: skip
    if geometry.is_sheared:
        raise InputError(
            f"{name}: the affine is sheared (axes not at right angles, as after a tilted gantry), "
            "which label files cannot carry; resample it onto a regular grid",
            code="sheared_affine",
        )
    return geometry


def check_size(n_voxels: int, name: str) -> None:
    """Refuse what is larger than any clinical scan."""
    if n_voxels > MAX_VOXELS:
        raise InputError(
            f"{name}: found {n_voxels} voxels, expected at most {MAX_VOXELS}; crop or downsample the scan",
            code="too_large",
        )


def _check_promise(file: NiftiFile) -> None:
    """Refuse a header that promises more than the file can hold, before memory is set aside for it."""
    n_voxels = math.prod(file.shape)
    check_size(n_voxels, file.name)
    n_bytes = file.path.stat().st_size
    at_most = n_bytes * MAX_DEFLATE_RATIO if file.is_gzip else n_bytes
    promised = n_voxels * file.header.get_data_dtype().itemsize + file.offset
    if promised > at_most:
        raise InputError(
            f"{file.name}: the voxels end early or are damaged: the header promises {promised} bytes, the file of "
            f"{n_bytes} holds at most {at_most}; export or copy the file again",
            code="corrupt_file",
        )


def volume_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """(I, J, K) of a 3-D image, or of one with trailing axes of length one."""
    if len(shape) > 3 and math.prod(shape[3:]) != 1:
        n_volumes = math.prod(shape[3:])
        raise InputError(f"{name}: found {n_volumes} volumes, expected one; split the file", code="several_volumes")
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(
            f"{name}: found a {'x'.join(map(str, shape))} image, expected a volume with at least 2 voxels an axis",
            code="not_a_volume",
        )
    return shape[0], shape[1], shape[2]


def voxels_of(file: NiftiFile) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(I, J, K) float32 voxels with the header's slope and intercept applied.

    Raises:
        InputError: ``corrupt_file``, ``lost_contrast``.
    """
    try:
        stored = file.unscaled().reshape(file.shape[:3])
        return to_single(stored, file.name, file.slope, file.intercept)
    except READ_ERRORS as error:
        if is_out_of_memory(error):
            raise
        _LOG.debug("%s", error)
        raise InputError(
            f"{file.name}: the voxels end early or are damaged; export or copy the file again", code="corrupt_file"
        ) from None
