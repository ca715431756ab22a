"""Images as NIfTI files with the exact values that medseg works on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import whole_file
from medseg.io.label_volumes import deterministic_stream, nifti_header
from medseg.spatial.geometry import Geometry

_WHOLE = (np.int16, np.uint16, np.int32)
"""Types of whole numbers, the most widely read first."""


def write_image(image: MetaTensor, path: Path) -> None:
    """Write a (1, I, J, K) float32 image on its own grid; equal images give equal bytes.

    Whole numbers are stored as int16, uint16 or int32, anything else as float32, without slope: readers get the values
    that the tensor holds, bit for bit.

    Args:
        path: ends in ``.nii.gz`` or ``.nii``.

    Raises:
        InputError: the grid is too far away for the header's single precision.
        OSError: the file cannot be written.
    """
    voxels, geometry = image.as_tensor()[0].cpu().numpy(), Geometry.of(image)
    stored = voxels.astype(exact_type(voxels), copy=False)
    header = nifti_header(stored, geometry)
    header.set_intent("none")
    with whole_file(path) as temporary, deterministic_stream(temporary) as stream:
        nib.Nifti1Image(stored, geometry.affine, header).to_stream(stream)


def exact_type(voxels: npt.NDArray[np.float32]) -> type[np.generic]:
    """The first type that holds every one of (I, J, K) finite values as it is."""
    if not all(np.array_equal(plane, np.rint(plane)) for plane in voxels):
        return np.float32
    low, high = float(voxels.min()), float(voxels.max())
    fits = (kind for kind in _WHOLE if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return next(fits, np.float32)
