"""Images are written with the values of the tensor, bit for bit, where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.io.nifti_image import exact_type, write_image
from medseg.io.read import read_scan
from tests.support.scans import GRIDS, load_nifti, nifti_grid

KINDS = {
    "int16": (lambda x: np.rint(1000 * x), np.int16), "uint16": (lambda x: np.rint(60_000 * np.abs(x)), np.uint16),
    "int32": (lambda x: np.rint(3e6 * x), np.int32), "float32": (lambda x: x, np.float32),
    "one that is no whole number": (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 7, 0.5, 3), np.float32),
    "beyond every whole type": (lambda x: np.rint(1e12 * x), np.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_values_are_exact_in_every_reader(name, tmp_path):
    make, kind = KINDS[name]
    grid = GRIDS["oblique"].crop((3, 4, 5), (7, 6, 5))
    voxels = make(np.random.default_rng(0).uniform(-1, 1, grid.shape)).astype(np.float32)
    voxels[0, 0, 0] = voxels[0, 0, 1] + 1
    image = MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(grid.affine.copy()))
    assert exact_type(voxels) is kind
    write_image(image, tmp_path / "a.nii.gz")
    found = load_nifti(tmp_path / "a.nii.gz")
    assert found.get_data_dtype() == kind
    assert np.array_equal(np.asarray(found.dataobj), voxels)
    assert np.array_equal(read_scan(tmp_path / "a.nii.gz").as_tensor()[0].numpy(), voxels)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz"))).T, voxels)
    assert nifti_grid(found).is_close(grid, 1e-4)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 1)
    assert found.header.get_intent()[0] == "none"
    write_image(image, tmp_path / "b.nii.gz")
    assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "a.nii.gz").read_bytes()
