"""DICOM series: every regular one right to the micrometre."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from pydicom import uid
from scipy.spatial.transform import Rotation

from medseg.io.dicom.reader import DicomReader
from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from tests.support.dicom_files import (
    AXIAL,
    IN_PLANE,
    LPS,
    OBLIQUE,
    POSITIONS,
    SHAPE,
    SPACING_MM,
    affine_of,
    assert_same_world,
    edit,
    loader,
    move,
    phantom,
    read,
    the_scan,
    write_axial,
)


@pytest.mark.parametrize("position", sorted(POSITIONS))
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_patient_positions_round_trip(tmp_path: Path, position: str, modality: Any) -> None:
    affine = affine_of(POSITIONS[position])
    write_dicom_series((phantom(), affine), tmp_path, modality=modality)
    scan = the_scan(tmp_path)
    assert (scan.verdict, scan.modality) == ("ok", modality)
    assert scan.geometry is not None
    assert scan.geometry.is_close(read(scan.paths)[1], 1e-4)
    assert_same_world(scan.paths, phantom(), affine)


@settings(max_examples=15)
@given(
    quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    spacing_mm=st.tuples(*[st.floats(0.3, 5.0)] * 3),
    origin_mm=st.tuples(*[st.floats(-900, 900)] * 3),
)
def test_any_grid_round_trips(
    quaternion: tuple[float, ...],
    flips: tuple[float, ...],
    spacing_mm: tuple[float, ...],
    origin_mm: tuple[float, ...],
) -> None:
    affine = affine_of(Rotation.from_quat(quaternion).as_matrix() * flips, spacing_mm)
    affine[:3, 3] = origin_mm
    voxels = np.random.default_rng(1).normal(0, 300, (4, 3, 5))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_dicom_series((voxels, affine), Path(folder))
        assert_same_world(paths, voxels, affine, quantum=float(np.ptp(voxels)) / 32767)


def test_image_is_what_loadimage_returns(tmp_path: Path) -> None:
    image = MetaTensor(torch.from_numpy(phantom())[None].float(), affine=torch.from_numpy(OBLIQUE))
    paths = write_dicom_series(image, tmp_path, modality="CT")
    loaded = loader()(paths)
    assert isinstance(loaded, MetaTensor)
    assert loaded.shape == (1, *SHAPE)
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.as_tensor(), image.as_tensor())
    assert Geometry.of(loaded).is_close(Geometry.of(image), 1e-4)
    assert "Phantom" not in repr(loaded.meta)
    assert DicomReader().verify_suffix(paths)
    assert not DicomReader().verify_suffix("scan.nii.gz")


def test_agrees_with_simpleitk_and_highdicom(tmp_path: Path) -> None:
    import highdicom

    paths = write_dicom_series((phantom(), OBLIQUE), tmp_path, modality="CT")
    voxels, geometry = read(paths)
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(tmp_path)))
    image = series.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, voxels)
    for index in [(0, 0, 0), (11, 9, 7), (3, 0, 5)]:
        theirs = LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        assert np.abs(theirs - geometry.to_world([index])[0]).max() < 1e-3
    # highdicom counts (slice, row, column), and its slices from the other end.
    volume = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths]).flip_spatial(0)
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), voxels)
    np.testing.assert_allclose((LPS @ volume.affine)[:, [2, 1, 0, 3]], geometry.affine, atol=1e-4)


def test_order_of_files_and_names_do_not_matter(tmp_path: Path) -> None:
    paths = write_dicom_series((phantom(), OBLIQUE), tmp_path / "a", modality="CT")
    expected, geometry = read(paths)
    (tmp_path / "b").mkdir()
    for number, path in enumerate(reversed(paths)):
        shutil.copy(path, tmp_path / "b" / f"{number * 7 % 8}")
    scan = the_scan(tmp_path / "b")
    assert scan.is_ok
    for files in (scan.paths, scan.paths[::-1]):
        voxels, found = read(files)
        np.testing.assert_array_equal(voxels, expected)
        assert found.is_close(geometry, 1e-6)
    assert_ascending(scan.paths)


def assert_ascending(paths: Sequence[Path]) -> None:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    row, column = np.asarray(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    along = [np.asarray(h.ImagePositionPatient, dtype=float) @ np.cross(row, column) for h in headers]
    assert (np.diff(along) > 0).all()


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    for k, path in enumerate(paths):
        edit(path, RescaleSlope=str(k + 1), RescaleIntercept=str(-k))
    slopes, intercepts = np.arange(1, 9), -np.arange(8)
    np.testing.assert_array_equal(read(paths)[0], phantom() * slopes + intercepts)


def test_unsigned_12_bit_and_inverted_display(tmp_path: Path) -> None:
    voxels = np.abs(phantom())
    paths = write_dicom_series((voxels, AXIAL), tmp_path)
    for path in paths:
        edit(path, PixelRepresentation=0, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read(paths)[0], voxels)


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless]
)
def test_encodings(tmp_path: Path, syntax: uid.UID) -> None:
    paths = write_axial(tmp_path)
    for path in paths:
        found = pydicom.dcmread(path)
        if syntax.is_encapsulated:
            found.compress(syntax, generate_instance_uid=False)
        found.file_meta.TransferSyntaxUID = syntax
        found.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    assert the_scan(tmp_path).is_ok
    np.testing.assert_array_equal(read(paths)[0], phantom())


def test_files_without_preamble_and_file_meta(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    for path in paths:
        found = pydicom.dcmread(path)
        del found.file_meta
        found.preamble = None
        found.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)
    assert the_scan(tmp_path).is_ok
    np.testing.assert_array_equal(read(paths)[0], phantom())


def test_copies_with_the_same_uid_are_dropped(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    shutil.copy(paths[3], tmp_path / "A copy.dcm")
    scan = the_scan(tmp_path)
    assert scan.is_ok
    assert len(scan.paths) == 8


def test_of_two_copies_the_complete_one_is_kept(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    shutil.copy(paths[3], tmp_path / "whole.dcm")
    paths[3].write_bytes(paths[3].read_bytes()[:-50])
    scan = the_scan(tmp_path)
    assert scan.is_ok
    assert tmp_path / "whole.dcm" in scan.paths


def test_positions_rounded_to_two_decimals_are_regular(tmp_path: Path) -> None:
    affine = affine_of(OBLIQUE[:3, :3] / SPACING_MM, (0.8, 1.1, 0.625))
    paths = write_dicom_series((phantom((4, 4, 30)), affine), tmp_path)
    for path in paths:
        position = pydicom.dcmread(path).ImagePositionPatient
        edit(path, ImagePositionPatient=[f"{x:.2f}" for x in position])
    scan = the_scan(tmp_path)
    assert scan.is_ok, scan.reason
    assert scan.geometry is not None
    assert scan.geometry.is_close(Geometry((4, 4, 30), affine), 0.01)
    assert not scan.geometry.is_sheared


def test_rounding_that_looks_like_tilt_gives_right_angles(tmp_path: Path) -> None:
    paths = write_dicom_series((phantom((4, 4, 4)), affine_of(POSITIONS["head first supine"], (1, 1, 1))), tmp_path)
    for k, path in enumerate(paths):
        move(path, 0.005 * k * IN_PLANE)
    scan = the_scan(tmp_path)
    assert scan.is_ok, scan.reason
    assert scan.geometry is not None
    assert not scan.geometry.is_sheared
    assert abs(scan.geometry.affine[1, 2]) < 1e-9


def test_orientation_written_with_three_decimals_here_and_six_there(tmp_path: Path) -> None:
    paths = write_dicom_series((phantom(), OBLIQUE), tmp_path)
    for path in paths[::2]:
        cosines = pydicom.dcmread(path).ImageOrientationPatient
        edit(path, ImageOrientationPatient=[f"{x:.3f}" for x in cosines])
    scan = the_scan(tmp_path)
    assert scan.is_ok, scan.reason
    assert scan.geometry is not None
    assert scan.geometry.is_close(Geometry(SHAPE, OBLIQUE), 0.02)
