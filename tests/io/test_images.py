"""Images in memory are held to the rules of files, and lie where files of the same voxels lie."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.errors import ConfigError, InputError
from medseg.io.discovery import find_scans
from medseg.io.images import as_image, as_mask
from medseg.io.read import read_scan
from medseg.spatial.geometry import Geometry

TURN = np.array([[0.0, -0.8, -0.6], [1.0, 0.0, 0.0], [0.0, -0.6, 0.8]])
SPACING_MM = np.array([0.9, 1.4, 3.0])
SHAPE = (6, 5, 4)
VOXELS = np.random.default_rng(1).integers(-900, 900, SHAPE).astype(np.int16)


def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.float32(TURN * SPACING_MM)
    affine[:3, 3] = (-30.5, 12.25, 80.0)
    return affine


def nifti(affine=None, voxels=VOXELS, kind=nib.Nifti1Image):
    image = kind(voxels, oblique() if affine is None else affine)
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    return image


def itk(voxels=VOXELS, *, is_vector=False):
    """Made without medseg: LPS+ is RAS+ with its first two axes turned round."""
    image = sitk.GetImageFromArray(voxels.T, isVector=is_vector)
    if image.GetDimension() == 3:
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ oblique()
        image.SetSpacing(np.linalg.norm(lps[:3, :3], axis=0).tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)).ravel().tolist())
    return image


def test_every_kind_gives_the_voxels_and_the_place_of_the_file(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    nib.save(nifti(), path)
    (scan,) = find_scans(path)
    mgh = nib.MGHImage(VOXELS.astype(np.int32), oblique())
    kinds = [path, str(path), scan, nib.load(path), nifti(), nifti(kind=nib.Nifti2Image), mgh, itk(),
             sitk.ReadImage(str(path)), read_scan(path)]  # fmt: skip
    for source in kinds:
        found = as_image(source)
        assert found.dtype == torch.float32
        assert np.array_equal(found.as_tensor()[0].numpy(), VOXELS), type(source)
        assert Geometry.of(found).is_close(Geometry(SHAPE, oblique()), 1e-4), type(source)


def test_slope_and_unit_of_a_header_count():
    image = nifti(np.diag([2000.0, 2000.0, 3000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    assert Geometry.of(as_image(image)).spacing_mm == pytest.approx((2, 2, 3))
    scaled = nib.Nifti1Image.from_bytes(nifti(voxels=VOXELS / 8).to_bytes())
    scaled.header.set_slope_inter(2.0, 1.0)
    again = nib.Nifti1Image.from_bytes(scaled.to_bytes())
    assert np.allclose(as_image(again).as_tensor()[0].numpy(), np.asarray(again.dataobj))


def test_an_affine_that_was_changed_in_place_counts():
    image = nifti()
    image.affine[:3, 3] += 5
    moved = oblique()
    moved[:3, 3] += 5
    assert Geometry.of(as_image(image)).is_close(Geometry(SHAPE, moved), 1e-3)


def placeless():
    image = nifti()
    image.header["sform_code"] = image.header["qform_code"] = 0
    return nib.Nifti1Image(VOXELS, None, image.header)


def two_places():
    image = nifti()
    moved = oblique()
    moved[0, 3] += 40
    image.header.set_qform(moved, 1)
    return image


def sheared():
    affine = np.eye(4)
    affine[0, 1] = 0.3
    return nib.Nifti1Image(VOXELS, affine)


def without_ras_flag():
    image = nib.MGHImage(VOXELS.astype(np.int32), oblique())
    image.header["goodRASFlag"] = 0
    return image


def uncertain():
    voxels = VOXELS.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    return itk(voxels)


def damaged(folder: Path):
    nib.save(nifti(voxels=np.repeat(VOXELS, 40, axis=0)), folder / "a.nii")
    image = nib.load(folder / "a.nii", mmap=False)
    (folder / "a.nii").write_bytes((folder / "a.nii").read_bytes()[:600])
    return image


REFUSED = {
    "no affine": (placeless, "no_geometry"),
    "two places": (two_places, "two_places"),
    "sheared": (sheared, "sheared_affine"),
    "RAS flag": (without_ras_flag, "no_geometry"),
    "4-D": (lambda: nifti(voxels=np.stack([VOXELS, VOXELS], -1)), "several_volumes"),
    "complex": (lambda: nifti(voxels=VOXELS.astype(np.complex64)), "colour"),
    "Analyze": (lambda: nib.AnalyzeImage(VOXELS, None), "unsupported_format"),
    "constant": (lambda: nifti(voxels=np.ones(SHAPE, np.int16)), "constant"),
    "ITK vectors": (lambda: itk(np.stack([VOXELS.T] * 3, -1).T, is_vector=True), "colour"),
    "ITK slice": (lambda: sitk.GetImageFromArray(VOXELS[..., 0].T), "not_a_volume"),
    "ITK with NaN": (uncertain, "not_finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_file_may_be_no_image_may_be(name):
    make, code = REFUSED[name]
    with pytest.raises(InputError) as caught:
        as_image(make())
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_after_it_was_opened_is_refused(tmp_path):
    with pytest.raises(InputError, match="the voxels end early"):
        as_image(damaged(tmp_path))


@pytest.mark.parametrize(("source", "found"), [
    (VOXELS, "numpy.ndarray, which does not say where its voxels lie, expected a path, a Scan, a nibabel image"),
    (torch.zeros(1, 3, 3, 3), "torch.Tensor, which does not say where"), (None, "NoneType, expected a path"),
    ([Path("a.nii")], "builtins.list, expected"),
])  # fmt: skip
def test_anything_else_is_told_what_is_taken(source, found):
    with pytest.raises(ConfigError, match=found):
        as_image(source)
    with pytest.raises(ConfigError, match=found):
        as_mask(source, Geometry(SHAPE, oblique()))


def test_masks_of_every_kind_are_the_same_mask(tmp_path):
    inside = np.zeros(SHAPE, np.uint8)
    inside[1:4, 2:, 1:3] = 1
    grid = Geometry(SHAPE, oblique())
    nib.save(nifti(voxels=inside), tmp_path / "m.nii.gz")
    flipped = oblique()
    flipped[:3, 3] += flipped[:3, 0] * (SHAPE[0] - 1)
    flipped[:3, 0] *= -1
    tensor = MetaTensor(torch.from_numpy(inside)[None].float(), affine=torch.from_numpy(oblique()))
    for mask in (tmp_path / "m.nii.gz", str(tmp_path / "m.nii.gz"), nifti(voxels=inside), itk(inside), tensor,
                 nifti(flipped, inside[::-1])):  # fmt: skip
        assert np.array_equal(as_mask(mask, grid)[0].numpy(), inside), type(mask)
    with pytest.raises(InputError, match=r"the mask: found .* expected the scan's"):
        as_mask(nifti(np.eye(4), inside), grid)
    with pytest.raises(InputError, match="the mask: no voxel is inside"):
        as_mask(itk(0 * inside), grid)
