"""A volume as the bytes of a compressed NIfTI file, to be put inside another file."""

from __future__ import annotations

import gzip
import zlib
from typing import cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from zlib_ng import gzip_ng

from medseg.spatial.geometry import Geometry

SmallArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def nifti_bytes(voxels: SmallArray, geometry: Geometry) -> bytes:
    """(I, J, K) voxels on `geometry` as gzip-compressed NIfTI-1 (sform = qform, mm); equal voxels give equal bytes."""
    image = nib.Nifti1Image(voxels, geometry.affine)
    image.set_sform(geometry.affine, code=1)
    image.set_qform(geometry.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    packed: bytes = gzip_ng.compress(image.to_bytes(), 2, mtime=0)
    return packed


def nifti_from_bytes(content: bytes) -> tuple[SmallArray, Geometry]:
    """What `nifti_bytes` wrote.

    Raises:
        ValueError: the bytes are no compressed NIfTI.
    """
    try:
        image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    except (OSError, EOFError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        raise ValueError("not a compressed NIfTI volume") from error
    voxels = cast(SmallArray, np.asarray(image.dataobj))
    return voxels, Geometry(cast(tuple[int, int, int], voxels.shape), np.asarray(image.affine, dtype=np.float64))
