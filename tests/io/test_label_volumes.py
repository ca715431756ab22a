"""NIfTI label maps, colour tables, and files that appear whole or not at all."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from scipy.spatial.transform import Rotation

from medseg.errors import InputError
from medseg.io.label_volumes import read_labels, write_color_table, write_labels
from medseg.labels.table import LabelTable
from medseg.spatial.geometry import Geometry
from tests.support.scans import load_nifti

SHAPE = (5, 6, 7)


def rotation(axis: str, degrees: float) -> npt.NDArray[np.float64]:
    return np.asarray(Rotation.from_euler(axis, degrees, degrees=True).as_matrix())


def geometry(axes: npt.ArrayLike, spacing_mm: tuple[float, float, float] = (0.7, 0.8, 5.0)) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, dtype=np.float64) * spacing_mm
    affine[:3, 3] = (-310.123, 245.7, 1033.25)
    return Geometry(SHAPE, affine)


GRIDS = {
    "RAS": geometry(np.eye(3)),
    "LPS": geometry(np.diag([-1, -1, 1])),
    "PIR": geometry(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])),
    "oblique": geometry(rotation("x", 17) @ rotation("z", 33)),
    "nearly LPS": geometry(np.diag([-1, -1, 1]) @ rotation("x", 0.05)),
}


def speckle(shape: tuple[int, ...] = SHAPE, high: int = 4) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, high, shape)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", GRIDS)
def test_round_trip(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"a_seg{suffix}"
    write_labels(speckle(), GRIDS[name], path)
    labels, grid = read_labels(path)
    np.testing.assert_array_equal(labels, speckle())
    assert grid.is_close(GRIDS[name], 1e-4)
    assert labels.dtype == np.uint8


@settings(max_examples=40)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(0.3, 8)] * 3), st.tuples(*[st.floats(-500, 500)] * 3),
    st.booleans(),
)  # fmt: skip
def test_every_orientation_is_placed(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, ...],
    spacing_mm: tuple[float, float, float],
    origin: tuple[float, ...],
    flipped: bool,
) -> None:
    axes = rotation("x", angles[0]) @ rotation("y", angles[1]) @ rotation("z", angles[2])
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm * (1, 1, -1 if flipped else 1)
    affine[:3, 3] = origin
    grid = Geometry((40, 50, 60), affine)
    path = tmp_path_factory.mktemp("forms") / "a_seg.nii"
    write_labels(np.zeros(grid.shape), grid, path)
    image = load_nifti(path)
    assert grid.is_close(Geometry(grid.shape, image.get_sform()), 2e-4)
    if image.header["qform_code"] == 1:
        assert grid.is_close(Geometry(grid.shape, image.get_qform()), min(spacing_mm) / 2)
    last = np.asarray(sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((39, 49, 59)))
    np.testing.assert_allclose(last * (-1, -1, 1), grid.to_world([(39, 49, 59)])[0], atol=2e-4)


def test_imprecise_qform_is_left_out(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation("z", 180 - 0.02) @ rotation("x", 0.02) * (0.3, 0.3, 3.0)
    grid = Geometry((1500, 1500, 2), affine)
    write_labels(np.zeros(grid.shape, dtype=np.uint8), grid, tmp_path / "a_seg.nii.gz")
    image = load_nifti(tmp_path / "a_seg.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    assert read_labels(tmp_path / "a_seg.nii.gz")[1].is_close(grid, 1e-4)


@pytest.mark.parametrize("name", GRIDS)
def test_simpleitk_reads_the_same_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a_seg.nii.gz"
    write_labels(speckle(), GRIDS[name], path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), speckle())
    for index in ((0, 0, 0), (4, 5, 6), (4, 0, 6)):
        lps = np.asarray(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(lps * (-1, -1, 1), GRIDS[name].to_world([index])[0], atol=2e-4)


def test_header(tmp_path: Path) -> None:
    write_labels(speckle(), GRIDS["oblique"], tmp_path / "a_seg.nii")
    header = load_nifti(tmp_path / "a_seg.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_intent()[0] == "label"
    # nibabel does not tell the slope and intercept of the file: bytes 112 to 120 of the header.
    assert struct.unpack("<2f", (tmp_path / "a_seg.nii").read_bytes()[112:120]) == (1.0, 0.0)


def test_smallest_type_and_sources(tmp_path: Path) -> None:
    path, grid = tmp_path / "a_seg.nii.gz", GRIDS["RAS"]
    wide = speckle(high=300)
    for labels, force, expected in (
        (speckle(), False, np.uint8),
        (speckle(), True, np.uint16),
        (wide, False, np.uint16),
        (speckle().astype(np.float32), False, np.uint8),
        (speckle() > 1, False, np.uint8),
        (torch.from_numpy(wide), False, np.uint16),
        (MetaTensor(torch.from_numpy(wide).float()), False, np.uint16),
    ):
        write_labels(labels, grid, path, force_uint16=force)
        found, _ = read_labels(path)
        np.testing.assert_array_equal(found, np.asarray(labels))
        assert load_nifti(path).get_data_dtype() == expected


def test_equal_labels_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a_seg.nii.gz", "b_seg.nii.gz"):
        write_labels(speckle(), GRIDS["LPS"], tmp_path / name)
    content = (tmp_path / "a_seg.nii.gz").read_bytes()
    assert content == (tmp_path / "b_seg.nii.gz").read_bytes()
    assert content[3] == 0  # no name
    assert content[4:8] == bytes(4)  # no time
    write_labels(speckle(), GRIDS["LPS"], tmp_path / "c_seg.nii")
    assert gzip.decompress(content) == (tmp_path / "c_seg.nii").read_bytes()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(SHAPE, -1), r"0\.\.65535, found -1"),
        (np.full(SHAPE, 65536), r"found 65536\.\.65536"),
        (np.full(SHAPE, 0.5), "found fractions"),
        (np.full(SHAPE, np.nan), "found nan"),
        (np.zeros((1, *SHAPE)), r"axes \(I, J, K\), found shape \(1, 5, 6, 7\)"),
        (np.zeros((5, 6, 8)), r"shape \(5, 6, 8\), its geometry \(5, 6, 7\)"),
        (np.full(SHAPE, 9), r"lacks the labels \[9\]"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path: Path, labels: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_labels(labels, GRIDS["RAS"], tmp_path / "a_seg.nii", table=LabelTable.default(3))
    assert not list(tmp_path.iterdir())


def test_grids_that_nifti_cannot_hold_are_refused(tmp_path: Path) -> None:
    tilted = GRIDS["RAS"].affine.copy()
    tilted[1, 2] = 1.6
    with pytest.raises(InputError, match="sheared") as caught:
        write_labels(speckle(), Geometry(SHAPE, tilted), tmp_path / "a_seg.nii")
    assert caught.value.code == "sheared_affine"
    far = GRIDS["RAS"].affine.copy()
    far[0, 3] = 3e7 + 1
    with pytest.raises(InputError, match="half a voxel") as caught:
        write_labels(speckle(), Geometry(SHAPE, far), tmp_path / "a_seg.nii")
    assert caught.value.code == "affine_precision"
    with pytest.raises(ValueError, match=r"must end in \.nii\.gz or \.nii"):
        write_labels(speckle(), GRIDS["RAS"], tmp_path / "a_seg.nrrd")


def test_read_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"

    def refused(code: str, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            read_labels(path)
        assert caught.value.code == code

    refused("corrupt_file", "not a readable NIfTI file")
    path.write_bytes(b"no image")
    refused("corrupt_file", "not a readable NIfTI file")
    write_labels(speckle((50, 60, 70)), Geometry((50, 60, 70), np.eye(4)), tmp_path / "b.nii.gz")
    whole = (tmp_path / "b.nii.gz").read_bytes()
    path = tmp_path / "c.nii.gz"
    path.write_bytes(whole[: len(whole) // 2])
    refused("corrupt_file", "cannot be read")
    path = tmp_path / "d.nii"
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 0.25, dtype=np.float32), np.eye(4)), path)
    refused("not_labels", "fractions")
    image = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4))
    image.header.set_xyzt_units("meter")
    nib.save(image, path)
    refused("wrong_unit", "the unit of the header is the metre, so that a voxel measures 1000 mm")


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1e-3), ("meter", 1e3), ("unknown", 1.0), ("mm", 1.0)])
def test_units_are_brought_to_mm(tmp_path: Path, unit: str, scale: float) -> None:
    stored = np.array([20.0, 30, 40]) / (1000 if unit == "meter" else 1)
    image = nib.Nifti1Image(speckle().astype(np.uint8), np.diag([*stored, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    _, grid = read_labels(tmp_path / "a.nii")
    np.testing.assert_allclose(grid.spacing_mm, stored * scale, rtol=1e-6)


def test_trailing_axes_are_dropped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(speckle()[..., None].astype(np.float32), np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii")[0], speckle())


def test_color_table(tmp_path: Path) -> None:
    table = LabelTable.default(3).replace(2, name="left  kidney_1", color=(1, 2, 3)).without([1])
    write_color_table(table, tmp_path / "labels.ctbl")
    assert (tmp_path / "labels.ctbl").read_text() == (
        "# Color table file labels.ctbl\n# 3 values\n0 background 0 0 0 0\n"
        "2 left_kidney_1 1 2 3 255\n3 label_3 238 102 119 255\n"
    )
