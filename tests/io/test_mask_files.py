"""Masks are found by the names that tools and people give them; voxels tell a mask from the image beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import InputError
from medseg.io.discovery import find_scans
from medseg.io.mask_files import ENDINGS, given_mask, mask_candidates, mask_names, read_given_mask
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from tests.support.dicom_files import write_axial
from tests.support.scans import grid_of

SHAPE, AFFINE = (7, 8, 9), np.diag([2.0, 2.0, 2.0, 1.0])
HEAD = np.random.default_rng(0).integers(1, 900, SHAPE).astype(np.int16)
BRAIN = np.zeros(SHAPE, np.uint8)
BRAIN[2:5, 2:6, 2:7] = 1


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return path


def scan_at(folder: Path, name: str) -> Scan:
    path = save(folder / "in" / name, HEAD)
    (scan,) = (scan for scan in find_scans(folder / "in") if scan.path == path)
    return scan


def found(folder: Path, scan: Scan) -> str:
    mask = read_given_mask(folder, scan, read_scan(scan))
    assert np.array_equal(mask.inside.as_tensor()[0].numpy() > 0, BRAIN > 0)
    return mask.path.relative_to(folder).as_posix()


def refused(folder: Path, scan: Scan) -> InputError:
    with pytest.raises(InputError) as caught:
        read_given_mask(folder, scan, read_scan(scan))
    return caught.value


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_every_usual_name(tmp_path, ending, suffix):
    scan = scan_at(tmp_path, "a/T1.nii.gz")
    save(tmp_path / "masks/a" / f"T1{ending}{suffix}", BRAIN * 255)
    assert found(tmp_path / "masks", scan) == f"a/T1{ending}{suffix}"


STRIPPED = np.where(BRAIN > 0, HEAD, 0).astype(np.int16)
FOLDERS: dict[str, tuple[dict[str, Any], str]] = {
    "HD-BET 2": ({"T1.nii.gz": STRIPPED, "T1_bet.nii.gz": BRAIN}, "T1_bet.nii.gz"),
    "HD-BET 1": ({"T1_bet.nii.gz": STRIPPED, "T1_bet_mask.nii.gz": BRAIN}, "T1_bet_mask.nii.gz"),
    "FSL": ({"T1_brain.nii.gz": STRIPPED, "T1_brain_mask.nii.gz": BRAIN}, "T1_brain_mask.nii.gz"),
    "FSL, its image called _bet": (
        {"T1_bet.nii.gz": STRIPPED, "T1_bet_mask.nii.gz": BRAIN.astype(np.float32)},
        "T1_bet_mask.nii.gz",
    ),
    "SynthStrip": (
        {"T1_synthstrip.nii.gz": STRIPPED, "T1_synthstrip_mask.nii.gz": BRAIN.astype(np.int32)},
        "T1_synthstrip_mask.nii.gz",
    ),
    "medseg": ({"T1_brainmask.nii.gz": BRAIN, "T1_seg.nii.gz": BRAIN * 3}, "T1_brainmask.nii.gz"),
    "two that agree": ({"T1_mask.nii.gz": BRAIN, "T1_brain_mask.nii.gz": BRAIN * 255}, "T1_mask.nii.gz"),
}  # fmt: skip


@pytest.mark.parametrize("tool", FOLDERS)
def test_a_folder_as_a_tool_leaves_it(tmp_path, tool):
    scan, (files, expected) = scan_at(tmp_path, "T1.nii.gz"), FOLDERS[tool]
    for name, voxels in files.items():
        save(tmp_path / "masks" / name, voxels)
    assert found(tmp_path / "masks", scan) == expected


def test_masks_beside_the_scans(tmp_path):
    """`--masks` may be the folder of the scans itself: the scan is no mask of its own."""
    scan = scan_at(tmp_path, "T1.nii.gz")
    error = refused(tmp_path / "in", scan)
    assert error.code == "not_a_mask"
    assert "found the scan itself" in str(error)
    save(tmp_path / "in/T1_brain_mask.nii.gz", BRAIN)
    assert found(tmp_path / "in", scan) == "T1_brain_mask.nii.gz"


FMRIPREP = {
    "sub-01/ses-2/anat/sub-01_ses-2_acq-mp2_run-1_T1w.nii.gz":
        "sub-01/ses-2/anat/sub-01_ses-2_acq-mp2_run-1_desc-brain_mask.nii.gz",
    "sub-01/anat/sub-01_T1w.nii.gz": "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
    "sub-01_T1w.nii.gz": "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
    "flat/sub-01_ses-2_T1w.nii": "sub-01/ses-2/anat/sub-01_ses-2_desc-brain_mask.nii.gz",
    "flat/sub-02_T1w.nii.gz": "flat/sub-02_desc-brain_mask.nii.gz",
    "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz": "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
}  # fmt: skip


@pytest.mark.parametrize("name", FMRIPREP)
def test_derivatives_of_fmriprep(tmp_path, name):
    scan, expected = scan_at(tmp_path, name), FMRIPREP[name]
    masks = tmp_path / "derivatives"
    other = BRAIN[::-1].copy()
    space = expected.replace("_desc-brain_mask", "_space-MNI152NLin2009cAsym_res-2_desc-brain_mask")
    save(masks / space, other)
    assert refused(masks, scan).code == "no_mask"
    save(masks / expected, BRAIN)
    save(masks / expected.replace("_desc-brain_mask", "_desc-preproc_T1w"), STRIPPED)
    assert found(masks, scan) == expected


def test_a_channel_number_of_nnunet_may_stay_in_the_name(tmp_path):
    scan = scan_at(tmp_path, "imagesTr/case7_0000.nii.gz")
    assert scan.id == "imagesTr/case7"
    save(tmp_path / "masks/imagesTr/case7_0000_bet.nii.gz", BRAIN)
    assert found(tmp_path / "masks", scan) == "imagesTr/case7_0000_bet.nii.gz"


def test_of_dicom_series_the_id_is_the_name(tmp_path):
    (tmp_path / "in").mkdir()
    write_axial(tmp_path / "in")
    (scan,) = find_scans(tmp_path / "in")
    geometry = grid_of(scan)
    voxels = np.zeros(geometry.shape, np.uint8)
    voxels[2:6, 3:7, 2:5] = 1
    path = save(tmp_path / "masks" / f"{scan.id}_bet.nii.gz", voxels, geometry.affine)
    assert given_mask(tmp_path / "masks", scan, geometry).path == path
    assert all(name.startswith(scan.id) for name in mask_names(scan))


def test_a_refusal_says_which_names_were_tried(tmp_path):
    error = refused(tmp_path, scan_at(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz"))
    assert error.code == "no_mask"
    for ending in ENDINGS:
        assert f"sub-01/anat/sub-01_T1w{ending}," in str(error)
    assert "sub-01/anat/sub-01_desc-brain_mask (.nii.gz or .nii)" in str(error)


SOFT = BRAIN * np.random.default_rng(0).random(SHAPE).astype(np.float32)
ODD = {
    "an extracted image": (STRIPPED, AFFINE, "not_a_mask", "more values than two"),
    "a label map": (BRAIN + np.roll(BRAIN, 1), AFFINE, "not_a_mask", "expected 0 outside and one number inside"),
    "a soft mask": (SOFT, AFFINE, "not_a_mask", "make a mask of it"),
    "a copy of the scan": (HEAD, AFFINE, "not_a_mask", "more values than two"),
    "nothing inside": (BRAIN * 0, AFFINE, "empty_mask", "no voxel is inside"),
    "another grid": (BRAIN[1:], AFFINE, "mask_mismatch", "resample the mask"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_mask_of_the_scan(tmp_path, kind):
    voxels, affine, code, words = ODD[kind]
    scan = scan_at(tmp_path, "T1.nii.gz")
    save(tmp_path / "masks/T1_mask.nii.gz", voxels, affine)
    error = refused(tmp_path / "masks", scan)
    assert error.code == code
    assert words in str(error)


def test_a_scan_of_two_values_is_no_mask_of_itself(tmp_path):
    path = save(tmp_path / "in/T1.nii.gz", BRAIN.astype(np.float32) * 3)
    scan = Scan("T1", (path,), "nifti")
    (tmp_path / "masks").mkdir()
    shutil.copy(path, tmp_path / "masks/T1.nii.gz")
    assert refused(tmp_path / "masks", scan).code == "not_a_mask"


@pytest.mark.parametrize(
    "other", [np.roll(BRAIN, 1), BRAIN * 0, BRAIN[1:]], ids=["a voxel further", "empty", "another grid"]
)
def test_masks_that_disagree_are_not_chosen_from(tmp_path, other):
    scan = scan_at(tmp_path, "T1.nii.gz")
    save(tmp_path / "masks/T1_mask.nii.gz", BRAIN)
    save(tmp_path / "masks/T1_brain_mask.nii.gz", other)
    error = refused(tmp_path / "masks", scan)
    assert error.code == "ambiguous_mask"
    assert "found 2 masks that are not the same (T1_mask.nii.gz, T1_brain_mask.nii.gz)" in str(error)
    assert len(mask_candidates(tmp_path / "masks", scan)) == 2


def test_a_damaged_mask(tmp_path):
    scan = scan_at(tmp_path, "T1.nii.gz")
    path = save(tmp_path / "masks/T1_mask.nii.gz", BRAIN)
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(tmp_path / "masks", scan).code == "corrupt_file"


def test_masks_of_other_scans_are_not_taken(tmp_path):
    scan_at(tmp_path, "T1_brain.nii.gz")
    scan = scan_at(tmp_path, "T1.nii.gz")
    save(tmp_path / "masks/other/T1_mask.nii.gz", BRAIN)
    save(tmp_path / "masks/T1_mask_2.nii.gz", BRAIN)
    assert refused(tmp_path / "masks", scan).code == "no_mask"
