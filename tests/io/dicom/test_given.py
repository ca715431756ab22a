"""DICOM files that nobody here made: the packages' own and real ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.data import get_testdata_file

from medseg.errors import InputError
from medseg.io.discovery import find_scans
from tests.support.dicom_files import (
    ALONG,
    DICOM,
    LPS,
    PACKAGE,
    edit,
    move,
    needs_shared,
    read,
    the_scan,
)


def test_package_series() -> None:
    folder = PACKAGE / "dicomdirtests"
    ct = the_scan(folder / "98892001/CT5N")
    assert ct.is_ok
    voxels, geometry = read(ct.paths)
    assert voxels.shape == (16, 16, 5)
    np.testing.assert_allclose(geometry.spacing_mm, (0.488281, 0.488281, 2.5), atol=1e-5)
    np.testing.assert_allclose(geometry.to_world([(0, 0, 0)])[0], (72.199997, 143, -1.2375), atol=1e-5)
    gap = the_scan(folder / "77654033/CT2")
    assert gap.verdict == "missing_slices"
    assert "gap of 202.5 mm between slices 1 and 2, elsewhere 1.25 mm" in gap.reason
    assert the_scan(folder / "98892003/MR700").verdict == "mixed_orientation"
    assert the_scan(folder / "98892001/CT2N").verdict == "not_a_volume"


def test_every_package_file_is_read_or_refused(tmp_path: Path) -> None:
    files = [path for path in sorted(PACKAGE.rglob("*")) if path.is_file()]
    assert len(files) > 100
    for number, path in enumerate(files):
        alone = tmp_path / str(number)
        alone.mkdir()
        (alone / path.name).symlink_to(path)
        assert [scan.verdict for scan in find_scans(alone)] != ["ok"]
        with pytest.raises(InputError):
            read([path])


@pytest.mark.parametrize("name", ["CT_small", "MR_small", "MR_small_bigendian", "MR_small_RLE", "MR_small_implicit"])
def test_package_file_as_a_stack(tmp_path: Path, name: str) -> None:
    source = get_testdata_file(f"{name}.dcm")
    assert isinstance(source, str)
    paths = []
    for k in range(4):
        shutil.copy(source, tmp_path / f"0{k}")
        edit(tmp_path / f"0{k}", SOPInstanceUID=f"1.2.{k}")
        move(tmp_path / f"0{k}", 3.0 * k * ALONG)
        paths.append(tmp_path / f"0{k}")
    found = pydicom.dcmread(source)
    expected = found.pixel_array * float(found.get("RescaleSlope", 1)) + float(found.get("RescaleIntercept", 0))
    np.testing.assert_array_equal(read(paths)[0], np.repeat(expected.T[:, :, None], 4, axis=2))


@needs_shared
def test_shared_verdicts() -> None:
    expected = {
        "ct_ge_tilt/In/GE": "gantry_tilt",
        "mr_siemens_mosaic/In/AxAsc36mb2a": "mosaic",
        "mr_siemens_mosaic/In/axdesc35": "mosaic",
        "mr_siemens_mosaic/In/sagint36": "mosaic",
        "failing/notavolume/001": "not_a_volume",
        "failing/slicecount/001": "not_a_volume",
        "failing/sliceorientation/001": "mixed_orientation",
        "encodings/hyperfine/anatomical/001": "ok",
        "encodings/rgb/001": "not_a_volume",
        "study/34907-T1prereg-43695": "ok",
        "study/35623-FLAIRreg-79237": "ok",
    }
    assert {folder: the_scan(DICOM / folder).verdict for folder in expected} == expected


@needs_shared
@pytest.mark.parametrize(
    "name", ["compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls", "compressed_rle"]
)
def test_shared_encodings_equal_their_reference(name: str) -> None:
    folder = DICOM / "encodings" / name
    scan = the_scan(folder / "001")
    if scan.verdict == "unsupported_encoding":
        pytest.skip(f"no decoder installed: {scan.reason}")
    voxels, geometry = read(scan.paths)
    mine = nib.as_closest_canonical(nib.Nifti1Image(voxels, geometry.affine))
    reference = nib.as_closest_canonical(nib.load(folder / "001_ground_truth.nii.gz"))
    np.testing.assert_allclose(mine.affine, reference.affine, atol=1e-4)
    np.testing.assert_array_equal(mine.get_fdata(), reference.get_fdata())


@needs_shared
@pytest.mark.parametrize("name", ["34907-T1prereg-43695", "35623-FLAIRreg-79237"])
def test_shared_study_agrees_with_simpleitk(name: str) -> None:
    scan = the_scan(DICOM / "study" / name)
    voxels, geometry = read(scan.paths)
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(scan.paths[0].parent)))
    image = series.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, voxels)
    last = tuple(int(n) - 1 for n in voxels.shape)
    for index in [(0, 0, 0), last]:
        theirs = LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        assert np.abs(theirs - geometry.to_world([index])[0]).max() < 1e-3
