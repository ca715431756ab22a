"""A small range on a huge offset keeps its contrast: read in double precision, or refused where the file lost it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.data.meta_tensor import MetaTensor

from medseg import InputError, Model, read_scan
from medseg.io.precision import is_huge, to_single, value_range
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid
from tests.support.dicom_files import edit, write_axial
from tests.support.scans import write_nifti

RAMP = np.add.outer(np.add.outer(np.arange(12.0), 12 * np.arange(11.0)), 132 * np.arange(10.0)).astype(np.int32)
RANGE = 1319.0


def save(path: Path, voxels: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> Path:
    image = nib.Nifti1Image(voxels, np.diag([1.0, 2, 3, 1]), dtype=voxels.dtype)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    content = bytearray(nib.Nifti1Image(voxels, image.affine, image.header).to_bytes())
    # nibabel's own writing would bring the voxels to the slope once more.
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    content[352:] = voxels.tobytes(order="F")
    path.write_bytes(bytes(content))
    return path


STORED = {
    "int32": (RAMP + 100_000_000, 1.0, 0.0),
    "int64": (RAMP.astype(np.int64) + 10**12, 1.0, 0.0),
    "float64": (RAMP + 1e8, 1.0, 0.0),
    "float64, tiny": (RAMP * 1e-4 + 1e6, 1.0, 0.0),
    "below zero": (RAMP - 1e9, 1.0, 0.0),
    "int16 with an intercept": (RAMP.astype(np.int16), 1.0, 1e8),
    "int16 with slope and intercept": (RAMP.astype(np.int16), 0.25, 2.0**30),
    "int32 with a slope below zero": (-RAMP + 7_000_000, -1.0, 0.0),
    "float32 that is whole": (RAMP.astype(np.float32) + np.float32(2**22), 1.0, 0.0),
}


@pytest.mark.parametrize("name", STORED)
def test_the_contrast_stays(tmp_path, name):
    stored, slope, intercept = STORED[name]
    found = read_scan(save(tmp_path / "a.nii", stored, slope, intercept))[0].numpy()
    truth = stored.astype(np.float64) * slope + intercept
    assert found.dtype == np.float32
    np.testing.assert_allclose(found - found.min(), truth - truth.min(), atol=2e-6 * np.ptp(truth))
    assert np.abs(found).max() < 1.01 * np.ptp(truth), "the offset is gone"


def test_nothing_is_taken_away_from_values_as_scanners_make_them(tmp_path):
    for number, stored in enumerate((RAMP - 1024.0, RAMP.astype(np.int16), RAMP * 30.0 + 1e5)):
        found = read_scan(save(tmp_path / f"{number}.nii", stored.astype(np.float32)))[0].numpy()
        assert np.array_equal(found, stored.astype(np.float32))
    found = read_scan(save(tmp_path / "scaled.nii", RAMP.astype(np.int16), 0.5, -1024.0))[0].numpy()
    assert np.array_equal(found, RAMP * 0.5 - 1024)


@pytest.mark.parametrize("offset", [1e8, -1e9])
def test_what_the_file_has_lost_is_refused(tmp_path, offset):
    path = save(tmp_path / "a.nii", (RAMP + offset).astype(np.float32))
    with pytest.raises(
        InputError, match=r"in float32, whose steps are \d+ there, expected 256 steps or more"
    ) as caught:
        read_scan(path)
    assert caught.value.code == "lost_contrast"


def test_nrrd_in_double_precision(tmp_path):
    image = sitk.GetImageFromArray((RAMP + 1e8).T)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    found = read_scan(tmp_path / "a.nrrd")[0].numpy()
    assert np.array_equal(found - found.min(), RAMP)
    sitk.WriteImage(sitk.GetImageFromArray((RAMP + 1e8).astype(np.float32).T), str(tmp_path / "b.nrrd"))
    with pytest.raises(InputError, match="float32"):
        read_scan(tmp_path / "b.nrrd")


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 1e8), (1e-3, 1e6), (1.0, -3e9)])
def test_mr_with_a_huge_intercept(tmp_path, slope, intercept):
    paths = write_axial(tmp_path)
    for path in paths:
        edit(path, RescaleSlope=1, RescaleIntercept=0)
    plain = read_scan(tmp_path)[0].numpy().astype(np.float64)
    for path in paths:
        edit(path, RescaleSlope=slope, RescaleIntercept=intercept)
    found = read_scan(tmp_path)[0].numpy()
    np.testing.assert_allclose(found - found.min(), slope * (plain - plain.min()), atol=1e-6 * slope * np.ptp(plain))


def test_ct_with_a_huge_intercept_is_refused(tmp_path):
    for path in write_axial(tmp_path):
        edit(path, RescaleSlope=1, RescaleIntercept=1e8, Modality="CT")
    with pytest.raises(
        InputError, match=r"the Hounsfield units lie around 9\.99+e\+07, expected -1024 for air"
    ) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "no_rescale"


def test_ranges():
    assert value_range(np.array([[[np.nan, np.inf]]])) == (0.0, 0.0)
    assert value_range(np.full((9, 9, 9), 5.0)) == (5.0, 5.0)
    almost = np.zeros((100, 100, 10))
    almost[0, 0, 0] = 3
    assert value_range(almost) == (0.0, 3.0)  # a small mask
    assert value_range(almost, -2.0, 1.0) == (-5.0, 1.0)
    assert not is_huge(5e9, 5e9)
    assert is_huge(1e8, 1e8 + 1000)
    assert not is_huge(-1024, 3071)
    assert np.array_equal(to_single(np.full((2, 2, 2), 5e9), "a"), np.full((2, 2, 2), np.float32(5e9)))


def test_labels_are_those_of_the_scan_without_the_offset(tmp_path, model: Model):
    scan = phantom(small_grid(), noise=8.0, seed=5)[0]
    scan = MetaTensor(scan.as_tensor().round(), affine=scan.affine)
    plain = model.segment(read_scan(write_nifti(scan, tmp_path / "plain.nii.gz"))).labels
    moved = nib.Nifti1Image(scan[0].numpy().astype(np.float64) + 1e8, np.asarray(scan.affine))
    moved.set_sform(moved.affine, 1)
    nib.save(moved, tmp_path / "moved.nii.gz")
    assert np.array_equal(model.segment(read_scan(tmp_path / "moved.nii.gz")).labels, plain)


@pytest.mark.parametrize("scale", [1e-9, 1e-25, 1e25])
def test_small_and_large_units_are_read(tmp_path, scale):
    found = read_scan(save(tmp_path / "a.nii", RAMP * scale))[0].numpy()
    np.testing.assert_allclose(found, RAMP * scale, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-43, 1e-38, 1e300])
@pytest.mark.parametrize("suffix", ["nii", "nrrd"])
def test_what_single_precision_cannot_hold_is_refused(tmp_path, scale, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "nii":
        save(path, RAMP * scale)
    else:
        sitk.WriteImage(sitk.GetImageFromArray((RAMP * scale).T), str(path))
    with pytest.raises(InputError, match="multiply them by a power of ten") as caught:
        read_scan(path)
    assert caught.value.code == "lost_contrast"


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "mhd", "nhdr"])
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_itk_files_with_a_huge_offset(tmp_path, suffix, dtype):
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray((RAMP + 100_000_000).astype(dtype).T), str(path))
    found = read_scan(path)[0].numpy()
    assert np.array_equal(found - found.min(), RAMP)


def test_mgh_with_a_huge_offset(tmp_path):
    nib.save(nib.MGHImage((RAMP + 100_000_000).astype(np.int32), np.eye(4)), tmp_path / "a.mgz")
    found = read_scan(tmp_path / "a.mgz")[0].numpy()
    assert np.array_equal(found - found.min(), RAMP)


def test_dicom_in_tiny_units_keeps_its_steps_or_is_refused(tmp_path):
    for scale, is_read in (("1e-9", True), ("1e-40", False)):
        for path in write_axial(tmp_path):
            edit(path, RescaleSlope=scale, RescaleIntercept="0")
        if is_read:
            found = read_scan(tmp_path)[0].numpy() * 1e9
            np.testing.assert_allclose(found, np.rint(found), atol=1e-3)
        else:
            with pytest.raises(InputError, match="multiply them by a power of ten"):
                read_scan(tmp_path)
