"""Label maps and masks beside scans are told by their voxels, with names as a hint."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from medseg import find_scans, read_scan
from medseg.io.label_like import hints_at_labels
from medseg.io.selection import Selection

SHAPE = (40, 36, 30)


def labels(n: int = 3) -> npt.NDArray[np.uint8]:
    """Boxes in boxes, background around."""
    found = np.zeros(SHAPE, np.uint8)
    for number in range(1, n + 1):
        found[number * 2 : -number * 2 or None, 4:-4, 4:-4] = number
    return found


def scan(kind: str = "i2") -> npt.NDArray[np.generic]:
    noisy = 100 + 20 * np.random.default_rng(0).standard_normal(SHAPE)
    noisy[:10] = 0  # skull-stripped: nothing at first
    return noisy.astype(kind)


def save(voxels: npt.NDArray[np.generic], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


def verdict(voxels: npt.NDArray[np.generic], path: Path) -> str:
    save(voxels, path)
    (found,) = find_scans(path.parent)
    return found.verdict


NAMES = ("a_seg.nii.gz", "a_mask.nii", "sub-1_dseg.nii.gz", "a_truth.nii.gz", "a-label.nii.gz", "a_bet_mask.nii.gz",
         "aparc+aseg.nii.gz", "BrainMask.nii.gz", "any.nii.gz", "any.nii")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["u1", "i2", "f4", "f8"])
def test_a_label_map_of_any_name_and_type(tmp_path: Path, name: str, kind: str) -> None:
    assert verdict(labels().astype(kind), tmp_path / name) == "label_map"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["u1", "i2", "f4"])
def test_a_scan_of_any_name_stays_one(tmp_path: Path, name: str, kind: str) -> None:
    assert verdict(scan(kind), tmp_path / name) == "ok"


def test_many_labels_and_binary_masks_of_255(tmp_path: Path) -> None:
    many = np.repeat(np.arange(36, dtype=np.int16) * 29, 30)[None].repeat(40, axis=0).reshape(SHAPE)
    assert verdict(np.ascontiguousarray(many.transpose(0, 1, 2)), tmp_path / "x" / "atlas_labels.nii.gz") == "label_map"
    assert verdict((255 * (labels() > 1)).astype(np.uint8), tmp_path / "y" / "b.nii.gz") == "label_map"


def test_a_soft_mask(tmp_path: Path) -> None:
    soft = np.clip(labels().astype(np.float32), 0, 1)
    soft[3] *= 0.37
    assert verdict(soft, tmp_path / "m" / "a_mask.nii.gz") == "label_map"
    assert verdict(scan("f4").astype(np.float32) / 400, tmp_path / "n" / "a_mask.nii.gz") == "ok"


def test_an_empty_segmentation_is_no_scan(tmp_path: Path) -> None:
    assert verdict(np.zeros(SHAPE, np.uint8), tmp_path / "a_seg.nii.gz") == "label_map"


def test_nnunet_folders(tmp_path: Path) -> None:
    save(scan(), tmp_path / "imagesTr/case_0000.nii.gz")
    save(labels(), tmp_path / "labelsTr/case.nii.gz")
    assert {s.id: s.verdict for s in find_scans(tmp_path)} == {"imagesTr/case": "ok", "labelsTr/case": "label_map"}
    assert {s.id for s in find_scans(tmp_path) if s.is_bystander} == {"labelsTr/case"}


def test_padding_and_clipped_air_are_no_labels(tmp_path: Path) -> None:
    ct = np.full((90, 90, 30), -2000, np.int16)
    ct[5:-5, 5:-5] = -1024
    ct[30:60, 30:60, 20:] = np.random.default_rng(0).integers(-100, 200, (30, 30, 10))
    assert verdict(ct, tmp_path / "ct.nii.gz") == "ok"


def test_people_decide_by_patterns(tmp_path: Path) -> None:
    save(scan(), tmp_path / "a/t1.nii.gz")
    save(scan(), tmp_path / "b/t2.nii.gz")
    save(labels(), tmp_path / "b/phantom.nii.gz")

    def taken(**patterns: list[str]) -> dict[str, str]:
        return {s.id: s.verdict for s in find_scans(tmp_path, selection=Selection(**patterns))}

    assert taken(include=["phantom*"]) == {"b/phantom": "ok"}
    assert taken(include=["b"], exclude=["*_mask*", "t2.nii.gz"]) == {"b/phantom": "ok"}
    assert taken(exclude=["b/"]) == {"a/t1": "ok"}
    assert taken(include=["**/t1.nii.gz"]) == {"a/t1": "ok"}
    assert taken(include=["nothing"]) == {}


def test_what_a_person_names_is_read(tmp_path: Path) -> None:
    path = save(labels(), tmp_path / "a_seg.nii.gz")
    assert float(read_scan(path).max()) == 3


@pytest.mark.parametrize(
    ("place", "expected"),
    [("labelsTr/x.nii", True), ("a/masks/x.nii", True), ("x_Mask.nii", True), ("x_bet.nii.gz", False),
     ("x_masked.nii", False), ("segovia.nii", False), ("T1w_brain.nii.gz", False)],
)  # fmt: skip
def test_names_are_hints(place: str, expected: bool) -> None:
    assert hints_at_labels(place) == expected
