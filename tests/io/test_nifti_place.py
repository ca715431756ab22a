"""Where NIfTI files lie: units, sform against qform, offsets, and headers that are wrong in part."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg import InputError, find_scans, read_labels, read_scan, write_labels
from medseg.io.nifti import judge_nifti
from medseg.io.read import read_mask
from medseg.spatial.geometry import Geometry
from tests.support.scans import grid_of

VOXELS = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 2, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])


def save(path: Path, *, sform=AFFINE, qform=AFFINE, codes=(1, 1), unit="mm", voxels=VOXELS) -> Path:
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header.set_xyzt_units(unit)
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nib.save(image, path)
    return path


def patch(path: Path, at: int, kind: str, *values: float) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(f"<{len(values)}{kind}", *values))
    return path


def moved(by_mm: float) -> npt.NDArray[np.float64]:
    affine = AFFINE.copy()
    affine[0, 3] += by_mm
    return affine


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1e-3), ("unknown", 1.0), ("mm", 1.0)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1)])
def test_every_unit_becomes_mm(tmp_path: Path, unit: str, scale: float, codes: tuple[int, int]) -> None:
    path = save(tmp_path / "a.nii.gz", unit=unit, codes=codes)
    scan = judge_nifti(path, "a")
    expected = Geometry((6, 5, 4), np.diag([scale, scale, scale, 1]) @ AFFINE)
    assert grid_of(scan).is_close(expected, 1e-7)
    assert Geometry.of(read_scan(path)).is_close(expected, 1e-7)
    assert ("mm" in scan.note) == (unit == "micron")


def test_metres(tmp_path: Path) -> None:
    small = np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE
    path = save(tmp_path / "a.nii.gz", sform=small, qform=small, unit="meter")
    assert np.allclose(grid_of(judge_nifti(path, "a")).spacing_mm, (2, 2, 3))
    assert judge_nifti(save(tmp_path / "b.nii", unit="meter"), "b").verdict == "wrong_unit"


def test_a_mask_in_microns_and_its_scan_in_mm(tmp_path: Path) -> None:
    big = np.diag([1e3, 1e3, 1e3, 1]) @ AFFINE
    mask = (VOXELS > 50).astype(np.uint8)
    path = save(tmp_path / "m.nii.gz", sform=big, qform=big, unit="micron", voxels=mask)
    assert int(read_mask(path, Geometry((6, 5, 4), AFFINE)).sum()) == int(mask.sum())


@pytest.mark.parametrize("codes", [(a, b) for a in range(1, 5) for b in range(1, 5)])
def test_two_places_are_refused_with_their_distance(tmp_path: Path, codes: tuple[int, int]) -> None:
    scan = judge_nifti(save(tmp_path / "a.nii", qform=moved(7.5), codes=codes), "a")
    assert scan.verdict == "two_places"
    assert f"sform (code {codes[0]}) and qform (code {codes[1]}) up to 7.5 mm apart" in scan.reason


def test_mirrored(tmp_path: Path) -> None:
    mirrored = AFFINE @ np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    path = save(tmp_path / "a.nii.gz", qform=mirrored, codes=(2, 1))
    assert "up to 10 mm apart, mirrored to each other" in judge_nifti(path, "a").reason
    with pytest.raises(InputError, match="mirrored"):
        read_labels(save(tmp_path / "l.nii", qform=mirrored, voxels=(VOXELS > 50).astype(np.uint8)))
    with pytest.raises(InputError, match="mirrored"):
        read_mask(save(tmp_path / "m.nii", qform=mirrored), Geometry((6, 5, 4), AFFINE))


@pytest.mark.parametrize(("apart", "note"), [(0.4, "up to 0.4 mm apart"), (0.01, "")])
def test_a_fraction_of_a_voxel_is_said(tmp_path: Path, apart: float, note: str) -> None:
    scan = judge_nifti(save(tmp_path / "a.nii", qform=moved(apart), codes=(4, 1)), "a")
    assert scan.is_ok
    assert note in scan.note
    assert bool(scan.note) == bool(note)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (3, 3), (4, 2)])
def test_labels_are_read_at_the_same_place_by_all(tmp_path: Path, codes: tuple[int, int]) -> None:
    image = read_scan(save(tmp_path / "a.nii.gz", codes=codes))
    write_labels((VOXELS > 50).astype(np.uint8), Geometry.of(image), tmp_path / "a_seg.nii.gz")
    itk = np.asarray(sitk.ReadImage(str(tmp_path / "a_seg.nii.gz")).TransformIndexToPhysicalPoint((5, 4, 3)))
    assert np.allclose(itk * (-1, -1, 1), (AFFINE @ (5, 4, 3, 1))[:3], atol=1e-4)
    other = nib.load(tmp_path / "a_seg.nii.gz")
    assert np.allclose(other.affine, AFFINE, atol=1e-5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("at", "values", "note"),
    [(280, [0.0] * 12, "sform (code 1) places nothing"), (280, [float("nan")] * 12, "sform (code 1) places nothing"),
     (80, [0.0] * 3, "qform (code 1) places nothing"), (256, [2.0] * 3, "qform (code 1) places nothing")],
)  # fmt: skip
def test_the_sound_form_is_used(tmp_path: Path, at: int, values: list[float], note: str) -> None:
    scan = judge_nifti(patch(save(tmp_path / "a.nii"), at, "f", *values), "a")
    assert scan.is_ok
    assert note in scan.note
    assert grid_of(scan).is_close(Geometry((6, 5, 4), AFFINE), 1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_intercept_that_is_no_number(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "a.nii", voxels=VOXELS.astype(np.int16))
    patch(patch(path, 112, "f", 2.0), 116, "f", value)
    assert "intercept" in judge_nifti(path, "a").note
    assert np.array_equal(read_scan(path)[0].numpy(), 2 * VOXELS)


@pytest.mark.parametrize(
    ("slope", "intercept", "is_said"),
    [(0.0, 0.0, False), (float("nan"), float("nan"), False), (0.0, -1024.0, True), (float("nan"), 5.0, True),
     (float("inf"), 0.0, True)],
)  # fmt: skip
def test_a_slope_that_means_none(tmp_path: Path, slope: float, intercept: float, is_said: bool) -> None:
    path = patch(save(tmp_path / "a.nii", voxels=VOXELS.astype(np.int16)), 112, "f", slope, intercept)
    assert ("mean no scaling, so voxels are as stored" in judge_nifti(path, "a").note) == is_said
    assert np.array_equal(read_scan(path)[0].numpy(), VOXELS)


def test_forms_of_which_none_is_sound(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii"), 280, "f", float("inf"))
    patch(path, 80, "f", 0.0)
    reason = judge_nifti(path, "a").reason
    assert "the sform (code 1) and qform (code 1) of the header places nothing" in reason


def test_a_place_that_is_none(tmp_path: Path) -> None:
    far = moved(1e7)
    scan = judge_nifti(save(tmp_path / "a.nii", sform=far, qform=far), "a")
    assert scan.verdict == "no_geometry"
    assert "places the first voxel 1e+07 mm from the origin" in scan.reason


def test_what_coregistration_by_spm_leaves_is_named(tmp_path: Path) -> None:
    """The qform stays where the scanner put it, the sform is where SPM moved the image; viewers follow either."""
    path = save(tmp_path / "a.nii", qform=moved(7.5), codes=(2, 1))
    assert "as coregistration by SPM leaves them" in judge_nifti(path, "a").reason
    assert "SPM" not in judge_nifti(save(tmp_path / "b.nii", qform=moved(7.5), codes=(1, 1)), "b").reason


@pytest.mark.parametrize("dim", [(4, 6, 5, 4, 0, 1, 1, 1), (5, 6, 5, 4, 1, 0, 1, 1), (4, 6, 5, 4, -1, 1, 1, 1)])
def test_a_size_of_0_beyond_the_third(tmp_path: Path, dim: tuple[int, ...]) -> None:
    path = patch(save(tmp_path / "a.nii"), 40, "h", *dim)
    assert "less than 1 beyond the third is taken for 1" in judge_nifti(path, "a").note
    assert np.array_equal(read_scan(path)[0].numpy(), VOXELS)


@pytest.mark.parametrize(
    ("offset", "reason"),
    [(0, "inside the header of 352 bytes"), (16, "inside the header"), (348, "inside the header"),
     (1e6, "beyond the end of the file"), (float("nan"), "no place in a file"), (352.5, "no place in a file")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_that_begin_where_they_cannot(tmp_path: Path, offset: float, reason: str, suffix: str) -> None:
    path = patch(save(tmp_path / "a.nii"), 108, "f", offset)
    if suffix == ".nii.gz":
        path = tmp_path / "b.nii.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    scan = judge_nifti(path, "a")
    if offset == 1e6 and suffix == ".nii.gz":
        assert scan.verdict == "corrupt_file"
        return
    assert scan.verdict == "wrong_offset"
    assert reason in scan.reason


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_a_mask_in_another_axis_order(tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (6, 5, 4)).astype(np.uint8)
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(order):
        turn[old, new] = -1 if new in flips else 1
        turn[old, 3] = mask.shape[old] - 1 if new in flips else 0
    turned = np.flip(mask.transpose(order), flips)
    image = nib.Nifti1Image(np.ascontiguousarray(turned), AFFINE @ turn)
    nib.save(image, tmp_path / "m.nii.gz")
    assert np.array_equal(read_mask(tmp_path / "m.nii.gz", Geometry((6, 5, 4), AFFINE))[0].numpy(), mask)


def test_numbers_for_people(tmp_path: Path) -> None:
    voxels = np.full((30, 30, 30), np.nan, np.float32)
    with pytest.raises(InputError, match=r"27000 voxels \(100 %\)"):
        read_scan(save(tmp_path / "a.nii", voxels=voxels))
    voxels[0, 0, 0] = 1
    with pytest.raises(InputError, match=r"26999 voxels \(99.9 %\)"):
        read_scan(save(tmp_path / "b.nii", voxels=voxels))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_with_a_mark(tmp_path: Path, encoding: str) -> None:
    save(tmp_path / "ä.nii")
    (tmp_path / "list.txt").write_text("ä.nii\r\n", encoding=encoding)
    assert [scan.id for scan in find_scans(tmp_path / "list.txt")] == ["ä"]
