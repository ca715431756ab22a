"""DICOM series: every regular one right to the micrometre, every other one refused by name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms.io.array import LoadImage
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from scipy.spatial.transform import Rotation

from medseg.errors import InputError
from medseg.geometry import Geometry
from medseg.io.dicom import DicomReader
from medseg.io.find import find_scans
from medseg.io.scan import Scan
from sample_data.dicom_series import write_dicom_series

FloatArray = npt.NDArray[np.float64]
SHARED = Path(__file__).parents[2] / "shared/data/dicom"
PACKAGE = Path(pydicom.__file__).parent / "data/test_files"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"real DICOM data not at {SHARED}")

SHAPE = (12, 10, 8)
SPACING_MM = (0.8, 1.1, 2.5)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
POSITIONS = {
    "head first supine": np.diag([-1, -1, 1]),
    "feet first supine": np.diag([1, -1, -1]),
    "decubitus": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
    "sagittal": np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


def affine_of(rotation: npt.ArrayLike, spacing_mm: Sequence[float] = SPACING_MM) -> FloatArray:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(rotation, dtype=np.float64) * spacing_mm
    affine[:3, 3] = (31.5, -12.25, 87.125)
    return affine


AXIAL = affine_of(POSITIONS["head first supine"])
OBLIQUE = affine_of(Rotation.from_euler("xyz", [17, -8, 33], degrees=True).as_matrix())


def phantom(shape: tuple[int, int, int] = SHAPE) -> FloatArray:
    """(I, J, K) integers from -1000 to 2000, no two neighbours alike."""
    return np.random.default_rng(5).integers(-1000, 2000, shape).astype(np.float64)


@cache
def axial_files() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [path.read_bytes() for path in write_dicom_series((phantom(), AXIAL), Path(folder))]


def write_axial(folder: Path) -> list[Path]:
    """The phantom as an axial MR series; written once, because that takes 10 ms a file."""
    paths = [folder / f"IM{k + 1:04d}.dcm" for k in range(SHAPE[2])]
    for path, content in zip(paths, axial_files(), strict=True):
        path.write_bytes(content)
    return paths


@cache
def loader() -> LoadImage:
    return LoadImage(reader=DicomReader(), image_only=True, ensure_channel_first=True)


def edit(path: Path, **elements: Any) -> None:
    found = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    found.save_as(path)


def move(path: Path, offset_mm: npt.ArrayLike) -> None:
    position = np.asarray(pydicom.dcmread(path).ImagePositionPatient, dtype=np.float64) + offset_mm
    edit(path, ImagePositionPatient=[f"{x:.9g}" for x in position])


def copy(path: Path, name: str, **elements: Any) -> Path:
    target = path.with_name(name)
    shutil.copy(path, target)
    edit(target, SOPInstanceUID=uid.generate_uid(entropy_srcs=[name]), **elements)
    return target


def read(paths: Sequence[Path]) -> tuple[npt.NDArray[np.float32], Geometry]:
    voxels, meta = DicomReader().get_data(DicomReader().read(paths))
    return voxels, Geometry((voxels.shape[0], voxels.shape[1], voxels.shape[2]), meta["affine"])


def the_scan(folder: Path) -> Scan:
    scans = find_scans(folder)
    assert len(scans) == 1, [scan.verdict for scan in scans]
    return scans[0]


def assert_same_world(paths: Sequence[Path], voxels: FloatArray, affine: FloatArray, *, quantum: float = 0.0) -> None:
    """Every voxel read lies, to 1e-3 mm, where a voxel of the source lies, and has its value."""
    found, geometry = read(paths)
    source = Geometry((voxels.shape[0], voxels.shape[1], voxels.shape[2]), affine)
    indices = np.argwhere(np.ones(found.shape, dtype=bool))
    world = geometry.to_world(indices)
    at = np.round(source.to_index(world)).astype(int)
    assert np.abs(source.to_world(at) - world).max() < 1e-3
    assert len(np.unique(at, axis=0)) == voxels.size
    assert np.abs(voxels[tuple(at.T)] - found[tuple(indices.T)]).max() <= quantum * 0.5 + 1e-4


# --- right -----------------------------------------------------------------------------------------------------


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


@settings(max_examples=15, deadline=None)
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


# --- refused by name -------------------------------------------------------------------------------------------

Defect = Callable[[list[Path]], object]
IN_PLANE = np.array([0.0, 1.0, 0.0])
ALONG = np.array([0.0, 0.0, 1.0])


def each(change: Callable[[Path, int], object]) -> Defect:
    return lambda paths: [change(path, k) for k, path in enumerate(paths)]


def compressed(path: Path, syntax: uid.UID, **elements: Any) -> None:
    found = pydicom.dcmread(path)
    found.PixelData = encapsulate([found.PixelData])
    found["PixelData"].VR = "OB"
    found["PixelData"].is_undefined_length = True
    found.file_meta.TransferSyntaxUID = syntax
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    found.save_as(path)


def sop_class(path: Path, name: uid.UID, **elements: Any) -> None:
    found = pydicom.dcmread(path)
    found.file_meta.MediaStorageSOPClassUID = name
    found.save_as(path)
    edit(path, SOPClassUID=name, **elements)


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


DEFECTS: dict[str, tuple[Defect, str, str]] = {
    "missing slice": (
        lambda paths: paths[3].unlink(),
        "missing_slices",
        r"gap of 5 mm between slices 3 and 4, elsewhere 2.5 mm \(1 missing\)",
    ),
    "two gaps": (lambda p: (p[2].unlink(), p[5].unlink()), "missing_slices", r"\(2 missing\)"),
    "duplicate, new UID": (
        lambda p: copy(p[4], "new"),
        "duplicate_positions",
        "slices 5 and 6 lie at the same position, expected one slice at each of the 8",
    ),
    "two indistinguishable phases": (
        each(lambda path, _: copy(path, f"b{path.name}")),
        "several_volumes",
        "2 volumes of 8 slices",
    ),
    "tilt": (
        each(lambda path, k: move(path, k * 2.5 * np.tan(np.radians(10)) * IN_PLANE)),
        "gantry_tilt",
        "lean by 10 degrees",
    ),
    "tilt and missing": (
        lambda p: (p[2].unlink(), each(lambda path, k: k == 2 or move(path, k * 0.1 * IN_PLANE))(p)),
        "gantry_tilt",
        "lean by 2.29 degrees",
    ),
    "drift of 1 % a slice": (
        each(lambda path, k: move(path, 2.5 * 0.01 * k * (k - 1) / 2 * ALONG)),
        "nonuniform_spacing",
        "slice distances from 2.5 to 2.65 mm",
    ),
    "one gap 2 % off": (
        each(lambda path, k: k < 5 or move(path, 0.05 * ALONG)),
        "nonuniform_spacing",
        "2.55 mm between slices 5 and 6",
    ),
    "small steps that add up": (
        each(lambda path, k: move(path, 0.02 * abs(k - 3.5) * ALONG)),
        "nonuniform_spacing",
        "off a regular spacing",
    ),
    "one slice shifted in plane": (
        lambda p: move(p[4], 3 * IN_PLANE),
        "nonuniform_spacing",
        "slice 5 lies 3 mm beside the line",
    ),
    "copies moved in plane": (
        lambda p: move(copy(p[4], "b", EchoTime="9"), 0.04 * IN_PLANE),
        "nonuniform_spacing",
        "slice distances from 0 to 2.5 mm",
    ),
    "truncated": (lambda p: cut(p[2], 100), "truncated", "image 3 lacks 100 bytes"),
    "without pixel element": (lambda p: edit(p[2], PixelData=None), "truncated", "lacks 240 bytes"),
    "compressed without pixels": (
        lambda p: (compressed(p[2], uid.RLELossless), edit(p[2], PixelData=None)),
        "truncated",
        "lacks 240 bytes",
    ),
    "one position": (
        each(lambda path, k: move(path, -2.5 * k * ALONG)),
        "not_a_volume",
        "all 8 slices lie at one position",
    ),
    "two slices": (lambda p: [x.unlink() for x in p[2:]], "not_a_volume", "found 2 slices"),
    "one slice": (lambda p: [x.unlink() for x in p[1:]], "not_a_volume", "found one slice"),
    "localiser": (
        each(lambda path, _: edit(path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        "not_a_volume",
        "localiser",
    ),
    "screenshots": (
        each(lambda path, _: sop_class(path, uid.SecondaryCaptureImageStorage)),
        "not_a_volume",
        "Secondary Capture",
    ),
    "no images": (
        each(lambda path, _: sop_class(path, uid.BasicTextSRStorage, Rows=None, PixelData=None)),
        "not_a_volume",
        "Basic Text SR",
    ),
    "headers only": (each(lambda path, _: edit(path, Rows=None, PixelData=None)), "truncated", "without pixels"),
    "two orientations": (
        lambda p: [edit(x, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]) for x in p[:4]],
        "mixed_orientation",
        r"8 slices of one series have 2 orientations \(4 \+ 4\)",
    ),
    "two sizes, neither a volume": (
        lambda p: [edit(x, PixelSpacing=[1.1, 0.9]) for x in p[::2]] + [p[2].unlink(), p[5].unlink()],
        "several_volumes",
        "2 image sizes, pixel spacings or frames of reference",
    ),
    "mosaic": (
        each(lambda path, _: edit(path, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])),
        "mosaic",
        "Siemens mosaic",
    ),
    "colour": (
        each(lambda path, _: edit(path, SamplesPerPixel=3, PhotometricInterpretation="RGB")),
        "colour",
        "colour image",
    ),
    "palette": (
        each(lambda path, _: edit(path, PhotometricInterpretation="PALETTE COLOR")),
        "colour",
        "colour image",
    ),
    "frames": (each(lambda path, _: edit(path, NumberOfFrames=2)), "enhanced_multiframe", "2 frame"),
    "enhanced": (
        each(lambda path, _: sop_class(path, uid.EnhancedMRImageStorage)),
        "enhanced_multiframe",
        "multi-frame",
    ),
    "no position": (each(lambda path, _: edit(path, ImagePositionPatient=None)), "no_geometry", "is missing"),
    "no position and cut": (
        each(lambda path, _: (edit(path, PixelSpacing=None), cut(path, 10))),
        "truncated",
        "lacks 10 bytes",
    ),
    "position is no number": (
        each(lambda path, _: replace_bytes(path, b"-31.5", b"-3x.5")),
        "no_geometry",
        "is missing",
    ),
    "position is infinite": (
        each(lambda path, _: replace_bytes(path, b"-31.5", b"-inf ")),
        "no_geometry",
        "is missing",
    ),
    "side by side": (
        each(lambda path, k: move(path, -2.5 * k * ALONG + 9 * k * IN_PLANE)),
        "not_a_volume",
        "all 8 slices lie in one plane",
    ),
    "rows of an impossible type": (
        each(lambda path, _: replace_bytes(path, b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00FD")),
        "truncated",
        "without pixels",
    ),
    "no direction": (
        each(lambda path, _: edit(path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
        "no_geometry",
        "two orthogonal unit vectors",
    ),
    "no pixel size": (each(lambda path, _: edit(path, PixelSpacing=[0, 1])), "no_geometry", "of 1 x 0 mm"),
    "video": (
        each(lambda path, _: compressed(path, uid.MPEG4HP41)),
        "unsupported_encoding",
        "encoded as MPEG-4",
    ),
}


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_defect_is_refused_by_finder_and_reader(tmp_path: Path, name: str) -> None:
    defect, code, message = DEFECTS[name]
    defect(write_axial(tmp_path))
    scan = the_scan(tmp_path)
    assert scan.verdict == code, scan.reason
    assert scan.geometry is None
    assert len(scan.paths) == len(list(tmp_path.iterdir()))
    # LoadImage would try its other readers after an error in `read`, and return the series silently.
    with pytest.raises(InputError, match=message) as refused:
        loader()(scan.paths)
    assert refused.value.code == code
    assert str(refused.value) == scan.reason


def test_localiser_inside_is_separated(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    copy(paths[0], "scout", ImageType=kind, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], Rows=12, Columns=10)
    volume, localiser = find_scans(tmp_path)
    assert (volume.verdict, localiser.verdict) == ("ok", "not_a_volume")
    assert localiser.id == f"{volume.id}-b"
    assert_same_world(volume.paths, phantom(), AXIAL)
    with pytest.raises(InputError, match="localiser"):
        read([*volume.paths, *localiser.paths])


def test_majority_orientation_is_kept(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    copy(paths[0], "a", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    copy(paths[0], "b", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    volume, rest = find_scans(tmp_path)
    assert (volume.verdict, rest.verdict) == ("ok", "mixed_orientation")
    assert (len(volume.paths), len(rest.paths)) == (8, 2)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("n_bytes", [30, 100])
def test_compressed_file_cut_short(tmp_path: Path, syntax: uid.UID, n_bytes: int) -> None:
    paths = write_axial(tmp_path)
    found = pydicom.dcmread(paths[2])
    found.compress(syntax, generate_instance_uid=False)
    found.save_as(paths[2])
    cut(paths[2], n_bytes)
    with pytest.raises(InputError, match="pixels of image 3 end early") as refused:
        read(paths)
    assert refused.value.code == "truncated"


def test_reader_refuses_what_is_not_one_series(tmp_path: Path) -> None:
    one = write_dicom_series((phantom(), AXIAL), tmp_path / "1", series_number=1)
    two = write_dicom_series((phantom(), AXIAL), tmp_path / "2", series_number=2)
    junk = tmp_path / "junk"
    junk.write_bytes(b"1234")
    with pytest.raises(InputError, match="16 files hold 2 volumes"):
        read([*one, *two])
    with pytest.raises(InputError, match="file 9 is not DICOM"):
        read([*one, junk])
    with pytest.raises(InputError, match="cannot be opened"):
        read([*one, tmp_path / "absent"])
    with pytest.raises(InputError, match="hold 0 volumes"):
        read([])


@pytest.mark.parametrize("pixels", [b"\xff\xd8\xff\xd9", b"no JPEG at all"])
def test_pixels_that_do_not_decode(tmp_path: Path, pixels: bytes) -> None:
    paths = write_axial(tmp_path)
    compressed(paths[2], uid.JPEGLSLossless)
    edit(paths[2], PixelData=encapsulate([pixels]))
    with pytest.raises(InputError, match="pixels of image 3 end early") as refused:
        read(paths)
    assert refused.value.code == "truncated"


@settings(max_examples=80, deadline=None)
@given(data=st.data(), is_marked=st.booleans())
def test_any_damage_is_read_or_refused(data: st.DataObject, is_marked: bool) -> None:
    content = bytearray(axial_files()[0])
    if not is_marked:
        del content[: content.index(b"\x08\x00\x08\x00")]
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged")
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        assert all(not scan.is_ok for scan in find_scans(folder))
        with pytest.raises(InputError):
            read([path])


def test_writer_refuses_shear_and_overflow(tmp_path: Path) -> None:
    sheared = AXIAL.copy()
    sheared[1, 2] = 0.5
    with pytest.raises(ValueError, match="right angles"):
        write_dicom_series((phantom(), sheared), tmp_path)
    with pytest.raises(ValueError, match="do not fit"):
        write_dicom_series((phantom() * 100, AXIAL), tmp_path, modality="CT")


def test_writer_is_deterministic(tmp_path: Path) -> None:
    first = write_dicom_series((phantom(), AXIAL), tmp_path / "1", seed=3)
    second = write_dicom_series((phantom(), AXIAL), tmp_path / "2", seed=3)
    other = write_dicom_series((phantom(), AXIAL), tmp_path / "3", seed=4)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    uids = [pydicom.dcmread(paths[0]).SeriesInstanceUID for paths in (first, other)]
    assert uids[0] != uids[1]


# --- files that nobody here made -------------------------------------------------------------------------------


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
    assert {folder: the_scan(SHARED / folder).verdict for folder in expected} == expected


@needs_shared
@pytest.mark.parametrize(
    "name", ["compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls", "compressed_rle"]
)
def test_shared_encodings_equal_their_reference(name: str) -> None:
    folder = SHARED / "encodings" / name
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
    scan = the_scan(SHARED / "study" / name)
    voxels, geometry = read(scan.paths)
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(scan.paths[0].parent)))
    image = series.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, voxels)
    last = tuple(int(n) - 1 for n in voxels.shape)
    for index in [(0, 0, 0), last]:
        theirs = LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        assert np.abs(theirs - geometry.to_world([index])[0]).max() < 1e-3
