"""`Model` takes what Python code has in hand, and gives the same labels whatever it is."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg import ConfigError, Model, find_scans, load_config, read_scan
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom
from tests.support.scans import GRIDS, load_nifti, nifti_grid, write_nifti

COHORT = ("clustering.method=cohort", "clustering.bias_sigma_mm=null")


def oblique() -> Geometry:
    """Turned about two axes, three spacings, axes in another order than R, A, S."""
    scaled = GRIDS["oblique"].affine @ np.diag([1.6, 1.2, 2.0, 1.0])
    shape = tuple(int(n / s) for n, s in zip(GRIDS["oblique"].shape, (1.6, 1.2, 2.0), strict=True))
    turned = Geometry((shape[0], shape[1], shape[2]), scaled).affine[:, [2, 0, 1, 3]]
    return Geometry((shape[2], shape[0], shape[1]), turned)


def itk_of(nifti: nib.Nifti1Image) -> sitk.Image:
    """The same image by SimpleITK's own means: LPS+ is RAS+ with its first two axes turned round."""
    image = sitk.GetImageFromArray(np.asarray(nifti.dataobj).T)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ nifti.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


@pytest.fixture(scope="module")
def model(quick_model) -> Model:
    return Model.load(quick_model, device="cpu")


def test_a_path_a_scan_nibabel_and_simpleitk_give_the_same_labels(model, tmp_path):
    path = write_nifti(phantom(oblique(), noise=8.0)[0], tmp_path / "a.nii.gz")
    loaded = load_nifti(path)
    (scan,) = find_scans(path)
    first = model.segment(read_scan(path))
    assert set(np.unique(first.labels)) == {0, 1, 2, 3}
    assert first.geometry.is_close(nifti_grid(loaded), 1e-4)
    for source in (path, str(path), scan, loaded, itk_of(loaded)):
        result = model.segment(source)
        assert np.array_equal(result.labels, first.labels), type(source)
        assert result.geometry.is_close(first.geometry, 1e-4), type(source)
    # Read by ITK the affine has the precision of the qform.
    read = model.segment(sitk.ReadImage(str(path)))
    assert (read.labels == first.labels).mean() > 0.999
    assert read.geometry.is_close(first.geometry, 1e-3)


def test_masks_and_anomaly_take_the_same(model, tmp_path):
    path = write_nifti(phantom(oblique(), noise=8.0)[0], tmp_path / "a.nii.gz")
    loaded = load_nifti(path)
    inside = np.zeros(loaded.shape, np.uint8)
    inside[8:30, 15:60, 20:70] = 1
    mask = nib.Nifti1Image(inside, loaded.affine)
    nib.save(mask, tmp_path / "mask.nii.gz")
    for given in (mask, tmp_path / "mask.nii.gz", itk_of(mask)):
        assert np.array_equal(model.segment(loaded, given).labels > 0, inside > 0)
    assert np.array_equal(model.anomaly(loaded, mask).as_tensor(), model.anomaly(path, mask).as_tensor())


def test_a_model_is_fitted_to_images_in_hand(cohort):
    paths = sorted(cohort.glob("*.nii.gz"))[:2]
    config = load_config("smoke", ["training.max_steps=4", *COHORT])
    fitted = [Model.fit([kind(path) for path in paths], config, device="cpu").plan for kind in (read_scan, load_nifti)]
    assert fitted[0] == fitted[1]


def test_what_is_no_image_is_told_what_is_taken(model):
    with pytest.raises(ConfigError, match=r"found an object of type numpy.ndarray, .* expected a path, a Scan, a nib"):
        model.segment(np.zeros((20, 20, 20)))
