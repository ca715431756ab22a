"""Finding scans: what is one, what is left out, what it is called."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import torch

from medseg.errors import ConfigError
from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from sample_data.dicom_series import Modality, write_dicom_series
from tests.support.call_counts import n_calls

SHAPE = (4, 3, 5)


def voxels() -> npt.NDArray[np.float64]:
    return np.arange(60, dtype=np.float64).reshape(SHAPE)


def nifti(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels().astype(np.float32), np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def dicom(folder: Path, series_number: int = 1, *, modality: str = "MR", seed: int = 0) -> list[Path]:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    kind: Modality = "CT" if modality == "CT" else "MR"
    return write_dicom_series((voxels(), affine), folder, modality=kind, series_number=series_number, seed=seed)


def digest(path: Path) -> str:
    series_uid = pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID
    return hashlib.sha256(str(series_uid).encode()).hexdigest()[:10]


def ids(scans: list[Scan]) -> list[str]:
    return [scan.id for scan in scans]


def test_nifti_ids_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("b/two.NII.GZ", "one.nii", "one_seg.nii.gz", "b/lonely_seg.nii", ".hidden.nii", ".cache/x.nii"):
        nifti(tmp_path / name)
    (tmp_path / "one.seg.nrrd").write_text("NRRD0005\n")
    (tmp_path / "notes.txt").write_text("nothing\n")
    scans = find_scans(tmp_path)
    assert ids(scans) == ["b/lonely_seg", "b/two", "one"]
    assert all(scan.is_ok and scan.format == "nifti" and scan.path.is_file() for scan in scans)
    assert scans[2].geometry is not None
    assert scans[2].geometry.spacing_mm == (1, 2, 3)


def test_same_name_with_two_suffixes(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii")
    nifti(tmp_path / "a.nii.gz")
    assert ids(find_scans(tmp_path)) == ["a", "a-b"]


def test_damaged_nifti_is_a_refused_scan(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"1234")
    (scan,) = find_scans(tmp_path)
    assert (scan.id, scan.verdict) == ("bad", "corrupt_file")


def test_dicom_ids_say_nothing_of_the_patient(tmp_path: Path) -> None:
    paths = dicom(tmp_path / "DOE^JOHN/b", 7, modality="CT")
    (scan,) = find_scans(tmp_path)
    assert scan.id == f"ct7-{digest(paths[0])}"
    assert ids(find_scans(tmp_path / "DOE^JOHN/b")) == [scan.id]
    assert scan.modality == "CT"


def test_folder_names_are_kept_on_request(tmp_path: Path) -> None:
    paths = dicom(tmp_path / "a/b", 7, modality="CT")
    (tmp_path / "a/x.dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert ids(find_scans(tmp_path, keep_names=True)) == [f"a/b/ct7-{digest(paths[0])[:6]}", "a/x.dcm"]
    voxels_by_name = read_scan(tmp_path / "a/b" / f"ct7-{digest(paths[0])[:6]}")
    voxels_by_id = read_scan(tmp_path / f"ct7-{digest(paths[0])}")
    assert torch.equal(voxels_by_name.as_tensor(), voxels_by_id.as_tensor())


@pytest.mark.parametrize("keep_names", [False, True])
def test_names_and_reasons_are_the_same_every_time(tmp_path: Path, keep_names: bool) -> None:
    for number in (1, 2):
        dicom(tmp_path / f"DOE^JANE{number}", number)
    (tmp_path / "DOE^JANE1/IM0003.dcm").unlink()
    (tmp_path / "DOE^JANE2/DOE.dcm").write_bytes(b"\0" * 128 + b"DICM")
    path = tmp_path / "DOE^JANE2/IM0002.dcm"
    path.write_bytes(path.read_bytes()[:-3])
    first, second = (find_scans(tmp_path, keep_names=keep_names) for _ in range(2))
    assert [(scan.id, scan.reason) for scan in first] == [(scan.id, scan.reason) for scan in second]
    assert sorted(scan.verdict for scan in first) == ["corrupt_file", "missing_slices", "truncated"]
    for scan in first:
        assert "DOE" not in scan.reason
        assert "DOE" not in scan.id or keep_names
        assert "1.2.826" not in scan.id + scan.reason


def test_headers_cannot_break_out_of_the_output_folder(tmp_path: Path) -> None:
    for path in dicom(tmp_path):
        found = pydicom.dcmread(path)
        found.Modality = "../X Y"
        del found.SeriesNumber
        found.save_as(path)
    (scan,) = find_scans(tmp_path)
    assert scan.id == f"xy-{digest(scan.paths[0])}"


def test_three_series_in_one_folder_between_junk(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        for path in dicom(tmp_path / "in", number):
            path.rename(path.with_name(f"{number}{path.stem}"))
    for name, content in {"a": b"1234", "empty": b"", "b.dcm": b"no DICOM at all", "z": b"\x08\x00" * 80}.items():
        (tmp_path / "in" / name).write_bytes(content)
    scans = find_scans(tmp_path)
    assert [scan.verdict for scan in scans] == ["ok"] * 3
    assert [scan.id.split("-")[0] for scan in scans] == ["mr1", "mr2", "mr3"]
    assert find_scans(tmp_path) == scans or ids(find_scans(tmp_path)) == ids(scans)


def test_series_spread_over_folders(tmp_path: Path) -> None:
    for k, path in enumerate(dicom(tmp_path / "s")):
        (tmp_path / "s" / str(k)).mkdir()
        path.rename(tmp_path / "s" / str(k) / "IM")
    (scan,) = find_scans(tmp_path)
    assert scan.is_ok
    assert scan.id.startswith("mr1-")


def test_labels_beside_a_dicom_series(tmp_path: Path) -> None:
    dicom(tmp_path / "s")
    (scan,) = find_scans(tmp_path)
    nifti(tmp_path / f"{scan.id}_seg.nii.gz")
    assert ids(find_scans(tmp_path)) == [scan.id]


def test_damaged_dicom_is_a_refused_scan(tmp_path: Path) -> None:
    dicom(tmp_path)
    (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff" + b"rubbish")
    bad, good = find_scans(tmp_path)
    assert good.is_ok
    assert (bad.id[:8], bad.verdict) == ("damaged-", "corrupt_file")
    assert "begins as DICOM" in bad.reason
    assert find_scans(tmp_path / "x.dcm")[0].verdict == "corrupt_file"


@pytest.mark.parametrize("is_marked", [True, False])
def test_deflated_rubbish(tmp_path: Path, is_marked: bool) -> None:
    meta = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99" + b"rubbish" * 9
    (tmp_path / "x").write_bytes(b"\0" * 128 + b"DICM" + meta if is_marked else meta)
    assert [scan.verdict for scan in find_scans(tmp_path)] == ["corrupt_file"] * is_marked


def test_unreadable_file_is_a_refused_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = dicom(tmp_path)
    real = Path.open

    def refuse(path: Path, mode: str = "r", buffering: int = -1) -> object:
        if path == paths[2]:
            raise PermissionError(13, "Permission denied")
        return real(path, mode, buffering)

    monkeypatch.setattr(Path, "open", refuse)
    verdicts = {scan.id.split("-")[0]: scan.verdict for scan in find_scans(tmp_path)}
    assert verdicts == {"damaged": "no_permission", "mr1": "missing_slices"}


def test_files_without_series_uid_are_one_series_a_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for path in dicom(tmp_path / folder, seed=ord(folder)):
            found = pydicom.dcmread(path)
            del found.SeriesInstanceUID
            found.save_as(path)
    scans = find_scans(tmp_path)
    assert [(scan.id[:4], scan.verdict) for scan in scans] == [("mr1-", "ok")] * 2
    assert scans[0].id != scans[1].id


def test_linked_folders_are_not_followed_linked_files_are(tmp_path: Path) -> None:
    nifti(tmp_path / "elsewhere/a.nii")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/b.nii").symlink_to(tmp_path / "elsewhere/a.nii")
    os.mkfifo(tmp_path / "in/pipe")
    assert ids(find_scans(tmp_path / "in")) == ["b"]


def test_one_file_stands_for_its_scan(tmp_path: Path) -> None:
    path = nifti(tmp_path / "x/a.nii.gz")
    nifti(tmp_path / "x/b.nii.gz")
    assert ids(find_scans(str(path))) == ["a"]
    one = dicom(tmp_path / "x", 1)
    dicom(tmp_path / "y", 2)
    shutil.copytree(tmp_path / "y", tmp_path / "x", dirs_exist_ok=True, copy_function=_copy_beside)
    (scan,) = find_scans(one[2])
    assert scan.id == f"mr1-{digest(one[0])}"
    assert len(scan.paths) == 5


def _copy_beside(source: str, target: str) -> str:
    return shutil.copy(source, f"{target}-2")


def test_list_of_paths(tmp_path: Path) -> None:
    nifti(tmp_path / "in/a.nii")
    nifti(tmp_path / "in/skipped.nii")
    one = dicom(tmp_path / "in/s", 1)
    dicom(tmp_path / "in/t", 2)
    (tmp_path / "todo.txt").write_text("in/a.nii\n\n in/s/IM0002.dcm \nin/t\nin/s/IM0001.dcm\nin/a.nii\n")
    scans = find_scans(tmp_path / "todo.txt")
    assert [scan.id.split("-")[0] for scan in scans] == ["in/a", "mr1", "mr2"]
    assert all(scan.is_ok for scan in scans)
    assert scans[1].paths == tuple(one)


def test_list_of_paths_elsewhere(tmp_path: Path) -> None:
    nifti(tmp_path / "p/a.nii")
    nifti(tmp_path / "q/a.nii")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/todo.txt").write_text(f"../p/a.nii\n{tmp_path}/q\n")
    assert ids(find_scans(tmp_path / "lists/todo.txt")) == ["p/a", "q/a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "absent does not exist, expected a folder"),
        ("list.txt", "absent.nii\n", "absent.nii does not exist"),
        ("list.txt", " \n", "list.txt is empty"),
        ("report.pdf", "%PDF", "report.pdf is neither NIfTI nor DICOM"),
        ("list.txt", "list.txt\n", "list.txt is neither NIfTI nor DICOM"),
    ],
)
def test_wrong_source(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        find_scans(tmp_path / name)


def test_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_scans(tmp_path / "list.txt")


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"locked cannot be listed \(Permission denied\)"):
        find_scans(tmp_path)


def test_empty_folder(tmp_path: Path) -> None:
    assert find_scans(tmp_path) == []


def test_every_header_is_opened_once_and_costs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, opened = Path.open, Counter[Path]()

    def count(path: Path, mode: str = "r", buffering: int = -1) -> object:
        opened[path] += 1
        return real(path, mode, buffering)

    monkeypatch.setattr(Path, "open", count)
    each = []
    for n_copies in (4, 40):
        paths = dicom(tmp_path / f"{n_copies}")
        copies = [path.with_name(f"{n}{path.name}") for n in range(n_copies) for path in paths]
        for copy, path in zip(copies, paths * n_copies, strict=True):
            shutil.copy(path, copy)
        find_scans(tmp_path / f"{n_copies}")  # what is loaded once
        opened.clear()
        each.append(n_calls(partial(find_scans, tmp_path / f"{n_copies}")) / len([*paths, *copies]))
        assert opened == Counter([*paths, *copies])
    assert each[1] < 1.05 * each[0]
    assert each[1] < 8_000  # calls of Python: some 3 ms, so that 10,000 headers take half a minute
