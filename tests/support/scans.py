"""Sample grids, and scans written to files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sample_data.phantom import grids
from tests.support.paths import SHARED

GRIDS = grids()


def shared(path: str) -> Path:
    """A file of the real scans beside the project; the test is skipped where they are absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"real scans not here: {path}")
    return found


def write_nifti(image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.asarray(image.affine)
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy(), affine)
    nifti.set_sform(affine, 1)
    nifti.set_qform(affine, 1)
    nib.save(nifti, path)
    return path
