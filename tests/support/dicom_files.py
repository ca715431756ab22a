"""DICOM series that the tests make, change and read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from monai.transforms.io.array import LoadImage
from pydicom import uid
from scipy.spatial.transform import Rotation

from medseg.io.dicom.reader import DicomReader
from medseg.io.discovery import find_scans
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from tests.support.paths import SHARED

FloatArray = npt.NDArray[np.float64]
DICOM = SHARED / "data" / "dicom"
PACKAGE = Path(pydicom.__file__).parent / "data/test_files"
needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason=f"real DICOM data not at {DICOM}")

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
IN_PLANE = np.array([0.0, 1.0, 0.0])
ALONG = np.array([0.0, 0.0, 1.0])


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


def edit(path: Path, **elements: Any) -> Path:
    """Set elements of a file, remove those that are None; returns the file."""
    found = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    found.save_as(path)
    return path


def move(path: Path, offset_mm: npt.ArrayLike) -> Path:
    offset = np.asarray(offset_mm, dtype=np.float64)
    position = np.asarray(pydicom.dcmread(path).ImagePositionPatient, dtype=np.float64) + offset
    return edit(path, ImagePositionPatient=[f"{x:.9g}" for x in position])


def copy(path: Path, name: str, **elements: Any) -> Path:
    target = path.with_name(name)
    shutil.copy(path, target)
    return edit(target, SOPInstanceUID=uid.generate_uid(entropy_srcs=[name]), **elements)


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


def cut(path: Path, n_bytes: int) -> Path:
    path.write_bytes(path.read_bytes()[:-n_bytes])
    return path


def remove(*paths: Path) -> list[Path]:
    for path in paths:
        path.unlink()
    return list(paths)
