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


def nifti_bytes(voxels: SmallArray, geometry: Geometry, *, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    """(I, J, K) voxels on `geometry` as gzip-compressed NIfTI-1 (sform = qform, mm); equal voxels give equal bytes.

    Args:
        slope, intercept: the header's: what is read is ``slope * voxels + intercept``.
    """
    image = nib.Nifti1Image(voxels, geometry.affine)
    image.set_sform(geometry.affine, code=1)
    image.set_qform(geometry.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(slope, intercept)
    packed: bytes = gzip_ng.compress(image.to_bytes(), 2, mtime=0)
    return packed


def nifti_from_bytes(content: bytes) -> tuple[SmallArray, Geometry]:
    """What `nifti_bytes` wrote, as it is stored.

    Raises:
        ValueError: the bytes are no compressed NIfTI.
    """
    try:
        image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    except (OSError, EOFError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        raise ValueError("not a compressed NIfTI volume") from error
    voxels = cast(SmallArray, np.asarray(cast(nib.arrayproxy.ArrayProxy, image.dataobj).get_unscaled()))
    return voxels, Geometry(cast(tuple[int, int, int], voxels.shape), np.asarray(image.affine, dtype=np.float64))
