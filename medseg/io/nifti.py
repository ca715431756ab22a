"""NIfTI files in: judged by their header, read strictly, refused in one sentence."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from medseg.errors import InputError
from medseg.io.scan import MAX_VOXELS, Scan
from medseg.spatial.geometry import Geometry

_LOG = logging.getLogger(__name__)
MAX_DEFLATE_RATIO = 1032
"""gzip cannot shrink anything by more."""
_READ_ERRORS = (
    OSError, EOFError, ValueError, OverflowError, zlib.error, nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError, nib.spatialimages.HeaderTypeError, nib.spatialimages.ImageDataError,
)  # fmt: skip


def judge_nifti(path: Path, scan_id: str) -> Scan:
    """Judge one NIfTI file by its header; never raises for a bad file."""
    try:
        geometry = header_geometry(open_nifti(path))
    except InputError as error:
        return Scan(scan_id, (path,), "nifti", verdict=error.code, reason=str(error))
    return Scan(scan_id, (path,), "nifti", geometry=geometry)


def open_nifti(path: Path) -> nib.Nifti1Image:
    """Open a NIfTI-1 or NIfTI-2 file without reading its voxels.

    Raises:
        InputError: ``corrupt_file`` or ``no_permission``.
    """
    try:
        with nib.imageglobals.LoggingOutputSuppressor():  # its complaints about headers; ours come in one sentence
            image = nib.load(path)
    except PermissionError:
        raise InputError(
            f"{path.name}: no permission to read the file; ask its owner for it", code="no_permission"
        ) from None
    except _READ_ERRORS as error:
        _LOG.debug("%s", error)
        raise InputError(
            f"{path.name}: not a readable NIfTI file, though its name says so; export or copy it again",
            code="corrupt_file",
        ) from None
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(
            f"{path.name}: found {type(image).__name__}, expected NIfTI; convert the file",
            code="corrupt_file",
        )
    return image


def header_geometry(image: nib.Nifti1Image) -> Geometry:
    """The grid that a NIfTI header promises.

    Raises:
        InputError: the header does not describe one regular grey-value volume.
    """
    header = image.header
    name = Path(image.get_filename() or "image").name
    if header.get_data_dtype().fields is not None or header.get_data_dtype().kind == "c":
        raise InputError(
            f"{name}: found RGB or complex voxels, expected one grey value each; convert it", code="colour"
        )
    shape = _volume_shape(image.shape, name)
    _check_promise(image, name)
    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        raise InputError(
            f"{name}: qform and sform code are both 0, so the header does not say where the voxels lie; "
            "set the sform with the tool that made the file",
            code="no_geometry",
        )
    try:
        geometry = Geometry(shape, image.affine)
    except ValueError as error:
        raise InputError(f"{name}: {error}; repair the header", code="no_geometry") from None
    if geometry.is_sheared:
        raise InputError(
            f"{name}: the affine is sheared (axes not at right angles, as after a tilted gantry), "
            "which label files cannot carry; resample it onto a regular grid",
            code="sheared_affine",
        )
    return geometry


def _check_promise(image: nib.Nifti1Image, name: str) -> None:
    """Refuse a header that promises more than the file can hold, before memory is set aside for it."""
    n_voxels = math.prod(image.shape)
    if n_voxels > MAX_VOXELS:
        raise InputError(
            f"{name}: found {n_voxels} voxels, expected at most {MAX_VOXELS}; crop or downsample the scan",
            code="too_large",
        )
    path = image.get_filename()
    if not path:
        return
    n_bytes = Path(path).stat().st_size
    at_most = n_bytes * MAX_DEFLATE_RATIO if str(path).lower().endswith(".gz") else n_bytes
    promised = n_voxels * image.header.get_data_dtype().itemsize + int(image.header.get_data_offset())
    if promised > at_most:
        raise InputError(
            f"{name}: the voxels end early or are damaged: the header promises {promised} bytes, the file of {n_bytes} "
            f"holds at most {at_most}; export or copy the file again",
            code="corrupt_file",
        )


def _volume_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """(I, J, K) of a 3-D image, or of one with trailing axes of length one."""
    if len(shape) > 3 and int(np.prod(shape[3:])) != 1:
        n_volumes = int(np.prod(shape[3:]))
        raise InputError(f"{name}: found {n_volumes} volumes, expected one; split the file", code="several_volumes")
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(
            f"{name}: found a {'x'.join(map(str, shape))} image, expected a volume with at least 2 voxels an axis",
            code="not_a_volume",
        )
    return shape[0], shape[1], shape[2]


def voxels_of(image: nib.Nifti1Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(I, J, K) float32 voxels with the header's slope and intercept applied."""
    name = Path(image.get_filename() or "image").name
    try:
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged")).reshape(image.shape[:3])
    except (*_READ_ERRORS, MemoryError) as error:
        _LOG.debug("%s", error)
        raise InputError(
            f"{name}: the voxels end early or are damaged; export or copy the file again", code="corrupt_file"
        ) from None


class NiftiReader(ImageReader):
    """MONAI reader of one NIfTI volume: as stored, with the affine to RAS+ mm of its header."""

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether the name ends in .nii or .nii.gz."""
        names = [filename] if isinstance(filename, (str, Path)) else list(filename)
        return all(str(n).lower().endswith((".nii", ".nii.gz")) for n in names)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> nib.Nifti1Image:
        """Open the one file given."""
        names = [data] if isinstance(data, (str, Path)) else list(data)
        image = open_nifti(Path(names[0]))
        header_geometry(image)
        return image

    def get_data(self, img: nib.Nifti1Image) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """(I, J, K) float32 voxels and the metadata that `LoadImage` needs."""
        geometry = header_geometry(img)
        return voxels_of(img), geometry_meta(geometry)


def geometry_meta(geometry: Geometry) -> dict[str, Any]:
    """MONAI metadata that says nothing but where the voxels lie."""
    return {
        MetaKeys.AFFINE: geometry.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: geometry.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(geometry.shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        MetaKeys.SPACE: SpaceKeys.RAS,
    }
