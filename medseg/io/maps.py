"""Maps of numbers as NIfTI files: two bytes a voxel with their scale, and the unit by name."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import whole_file
from medseg.io.label_volumes import deterministic_stream, nifti_header
from medseg.spatial.geometry import Geometry

STEP = 0.01
"""Difference between neighbouring stored values; the largest is 327.67."""


def write_map(image: MetaTensor, path: Path, *, unit: str) -> None:
    """Write a (1, I, J, K) map on its grid: int16 with a slope of `STEP`; readers show its values.

    Args:
        unit: kept in the header's ``descrip``, at most 79 ASCII characters.

    Raises:
        InputError: the grid is too far away for the header's single precision.
    """
    limits = np.iinfo(np.int16)
    stored = np.clip(np.rint(image.as_tensor()[0].cpu().numpy() / STEP), limits.min, limits.max).astype(np.int16)
    header = nifti_header(stored, Geometry.of(image))
    header.set_intent("z score")
    header["descrip"] = unit.encode("ascii")[:79]
    written = nib.Nifti1Image(stored, header.get_best_affine(), header)
    written.header.set_slope_inter(STEP, 0.0)
    with whole_file(path) as temporary, deterministic_stream(temporary) as stream:
        # Through the header and the raw voxels: nibabel's own writing would divide them by the slope once more.
        written.header.write_to(stream)
        stream.write(b"\0" * (int(written.header.get_data_offset()) - stream.tell()))
        stream.write(stored.tobytes(order="F"))
