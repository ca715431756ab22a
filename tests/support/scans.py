"""Sample grids, and scans written to files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data.meta_tensor import MetaTensor

from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry
from sample_data.phantom import grids
from tests.support.paths import SHARED

GRIDS = grids()


def shared(path: str) -> Path:
    """A file of the real scans beside the project; the test is skipped where they are absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"real scans not here: {path}")
    return found


def write_nifti(image: MetaTensor, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.asarray(image.affine)
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy(), affine)
    nifti.set_sform(affine, 1)
    nifti.set_qform(affine, 1)
    nib.save(nifti, path)
    return path


def load_nifti(path: Path) -> nib.Nifti1Image:
    """A NIfTI file as nibabel alone has it."""
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image


def nifti_grid(image: nib.Nifti1Image) -> Geometry:
    """The grid of the first three axes."""
    return Geometry((image.shape[0], image.shape[1], image.shape[2]), image.affine)


def grid_of(scan: Scan) -> Geometry:
    """The grid of a scan that has one."""
    assert scan.geometry is not None, scan.reason
    return scan.geometry
