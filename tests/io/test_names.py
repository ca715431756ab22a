"""Any name of a file gives an id that tables, terminals and file systems can hold."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import find_scans, read_scan
from medseg.io.atomic import remove_leftovers, write_text_whole
from medseg.io.names import MOST_BYTES, safe_name
from sample_data.dicom_series import write_dicom_series

VOXELS = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
LATIN = "M\udcfcller"


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [(f"{LATIN}/{LATIN}_T1", "M_xFCller/M_xFCller_T1"), ("a\rb\nc\td", "a_b_c_d"), ("Größe 脳", "Größe 脳")],
)
def test_safe_ids(tmp_path: Path, name: str, expected: str) -> None:
    save(tmp_path / f"{name}.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert scan.id == expected
    assert scan.stem == ("" if name == expected else name)
    assert np.array_equal(read_scan(scan)[0].numpy(), VOXELS)


@pytest.mark.parametrize("stem", ["x" * 233, "脳" * 72, "é" * 110, "脳" * 82])
def test_long_names_leave_room_for_endings(tmp_path: Path, stem: str) -> None:
    save(tmp_path / f"{stem}.nii.gz")
    (scan,) = find_scans(tmp_path)
    for ending in ("_seg-medseg_desc-FLAIRk12_dseg.nii.gz", "_disagreement.nii.gz", ".log"):
        write_text_whole(tmp_path / "out" / f"{scan.id}{ending}", "x")
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_two_names_that_become_one(tmp_path: Path) -> None:
    save(tmp_path / "a\rb.nii")
    save(tmp_path / "a\nb.nii")
    assert [scan.id for scan in find_scans(tmp_path)] == ["a_b", "a_b-b"]


def test_what_a_dead_process_left_of_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / f"{'脳' * 60}.txt"
    write_text_whole(path, "x")
    left = tmp_path / f".medseg-tmp.ffffff.1.00000000.{path.name.encode()[-100:].decode('utf-8', 'ignore')}"
    left.write_text("half")
    remove_leftovers(tmp_path, path.name, whoever=True)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("keep_names", [False, True])
def test_dicom_below_a_latin_1_folder(tmp_path: Path, keep_names: bool) -> None:
    write_dicom_series((VOXELS.astype(np.float64), np.eye(4)), tmp_path / LATIN, modality="MR")
    (tmp_path / LATIN / f"{LATIN}.dcm").write_bytes(bytes(128) + b"DICM")
    scans = find_scans(tmp_path, keep_names=keep_names)
    assert sorted(scan.verdict for scan in scans) == ["corrupt_file", "ok"]
    assert all(scan.id.encode() and scan.reason.encode() is not None for scan in scans)


def test_a_list_of_latin_1_names(tmp_path: Path) -> None:
    save(tmp_path / f"{LATIN}.nii")
    (tmp_path / "list.txt").write_bytes(os.fsencode(f"{LATIN}.nii\n"))
    assert [scan.id for scan in find_scans(tmp_path / "list.txt")] == ["M_xFCller"]


@given(st.text(st.characters(exclude_characters="/"), min_size=1, max_size=300))
def test_safe_names_can_be_written(name: str) -> None:
    found = safe_name(os.fsdecode(os.fsencode(name.encode("utf-8", "replace"))))
    assert found.isprintable() or any(letter.isspace() or not letter.isprintable() for letter in found)
    assert len(found.encode()) <= MOST_BYTES
    assert not {"\n", "\r", "\0"} & set(found)
