from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from medseg import InputError, find_scans, read_scan
from medseg.io.nifti import judge_nifti
from medseg.io.read import read_mask
from medseg.spatial.geometry import Geometry
from tests.support.scans import load_nifti, shared

VOXELS = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)


def save(voxels, path, affine=None, *, code=1):
    affine = np.diag([1.0, 2, 3, 1]) if affine is None else affine
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, code)
    image.header["qform_code"] = 0
    nib.save(image, path)
    return path


def refused(path, code, match):
    verdict = judge_nifti(path, "x")
    if verdict.is_ok:
        with pytest.raises(InputError, match=match) as caught:
            read_scan(path)
        assert caught.value.code == code
    else:
        assert verdict.verdict == code
        assert verdict.geometry is None
        with pytest.raises(InputError, match=match):
            raise InputError(verdict.reason, code=verdict.verdict)


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 1), (6, 5, 4, 1, 1)])
def test_one_volume_is_read_as_stored(tmp_path, shape):
    path = save(VOXELS.reshape(shape), tmp_path / "a.nii.gz")
    image = read_scan(path)
    assert image.shape == (1, 6, 5, 4)
    assert np.array_equal(image[0].numpy(), VOXELS)
    assert Geometry.of(image).is_close(Geometry((6, 5, 4), np.diag([1.0, 2, 3, 1])))
    assert image.meta.get("filename_or_obj") is None


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(VOXELS.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "a.nii")
    raw = load_nifti(tmp_path / "a.nii").get_fdata()
    assert np.allclose(read_scan(tmp_path / "a.nii")[0].numpy(), raw, atol=1e-4)


def test_a_zero_fourth_zoom_is_read(tmp_path):
    path = save(VOXELS[..., None], tmp_path / "a.nii")
    with path.open("r+b") as file:
        file.seek(76 + 4 * 4)
        file.write(np.float32(0).tobytes())
    assert read_scan(path).shape == (1, 6, 5, 4)


def test_corrupt_gzip(tmp_path):
    path = save(np.random.default_rng(0).random((20, 20, 20)).astype(np.float32), tmp_path / "a.nii.gz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path, "corrupt_file", "end early or are damaged")


def test_header_only(tmp_path):
    path = save(VOXELS, tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:360])
    refused(path, "corrupt_file", "end early or are damaged")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_text_called_nifti(tmp_path, name):
    (tmp_path / name).write_text("this is no image\n" * 50)
    refused(tmp_path / name, "corrupt_file", "not a readable NIfTI file")


def test_gzipped_text_called_nifti(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"this is no image\n" * 50))
    refused(tmp_path / "a.nii.gz", "corrupt_file", "not a readable NIfTI file")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.nii").touch()
    refused(tmp_path / "a.nii", "corrupt_file", "not a readable NIfTI file")


def test_nan_voxels(tmp_path):
    voxels = VOXELS.copy()
    voxels[2, 2, 2] = np.nan
    refused(save(voxels, tmp_path / "a.nii"), "not_finite", r"1 voxel \(0.83 %\) is NaN or infinite")


def test_constant_voxels(tmp_path):
    refused(save(np.full((6, 5, 4), 7.0, np.float32), tmp_path / "a.nii"), "constant", "every voxel is 7")


def test_zero_affine(tmp_path):
    path = save(VOXELS, tmp_path / "a.nii")
    with path.open("r+b") as file:
        file.seek(280)
        file.write(np.zeros(12, np.float32).tobytes())
    refused(path, "no_geometry", "the sform .code 1. of the header places nothing .zeros.* invertible one")


def test_sheared_affine(tmp_path):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    refused(save(VOXELS, tmp_path / "a.nii", affine), "sheared_affine", "not at right angles")


def test_no_codes(tmp_path):
    refused(save(VOXELS, tmp_path / "a.nii", code=0), "no_geometry", "codes? .*both 0")


def test_two_dimensions(tmp_path):
    refused(save(VOXELS[..., 0], tmp_path / "a.nii"), "not_a_volume", "found a 6x5 image")


def test_one_slice(tmp_path):
    refused(save(VOXELS[..., :1], tmp_path / "a.nii"), "not_a_volume", "found a 6x5x1 image")


def test_two_volumes(tmp_path):
    refused(save(np.stack([VOXELS, VOXELS], -1), tmp_path / "a.nii"), "several_volumes", "found 2 volumes")


def test_rgb(tmp_path):
    voxels = np.zeros((6, 5, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "colour", "RGB or complex")


def test_a_mask_on_another_grid(tmp_path):
    path = save((VOXELS > 50).astype(np.uint8), tmp_path / "m.nii.gz")
    with pytest.raises(InputError, match="resample the mask"):
        read_mask(path, Geometry((6, 5, 4), np.eye(4)))
    inside = read_mask(path, Geometry((6, 5, 4), np.diag([1.0, 2, 3, 1])))
    assert int(inside.sum()) == int((VOXELS > 50).sum())


def test_an_empty_mask(tmp_path):
    path = save(np.zeros((6, 5, 4), np.uint8), tmp_path / "m.nii.gz")
    with pytest.raises(InputError, match="no voxel is inside"):
        read_mask(path, Geometry((6, 5, 4), np.diag([1.0, 2, 3, 1])))


@pytest.mark.parametrize(
    ("file", "axcodes", "shape"),
    [
        ("brain_t1_ibsr18/IBSR_01_T1w.nii.gz", "RAS", (256, 128, 256)),
        ("lung_mr_t1/0004_image.nii.gz", "LSP", (96, 128, 60)),
        ("mr_spine/t2/t2.nii.gz", "PSR", (60, 55, 52)),
        ("mr_spine/t2s/t2s.nii.gz", "LAS", (49, 54, 9)),
        ("ct_trunk/example_ct.nii.gz", "RAS", (122, 101, 112)),
        ("mr_hippocampus/hippocampus_001_image.nii.gz", "RAS", (35, 51, 35)),
    ],
)
def test_odd_real_files_lie_where_their_header_says(file, axcodes, shape):
    path = shared(f"data/{file}")
    image = read_scan(path)
    geometry = Geometry.of(image)
    stored = load_nifti(path)
    assert (geometry.axcodes, geometry.shape) == (axcodes, shape)
    assert np.abs(geometry.affine - stored.affine).max() < 1e-4
    assert np.array_equal(image[0].numpy(), np.asarray(stored.dataobj, dtype=np.float32).reshape(shape))


def test_real_vector_and_colour_files_are_refused():
    verdicts = {scan.id: scan.verdict for scan in find_scans(shared("data/mr_spine")) if not scan.is_ok}
    assert {name: verdict for name, verdict in verdicts.items() if verdict != "label_map"} == {
        "t2/warp_template2anat": "several_volumes"
    }


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_a_lack_of_memory_is_no_damage(tmp_path, monkeypatch, error):
    path = save(VOXELS, tmp_path / "a.nii.gz")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("medseg.io.nifti_header.unpacked", fail)
    with pytest.raises(type(error)):
        read_scan(path)
