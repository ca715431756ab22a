"""Headers that lie and names that lead elsewhere: refused before memory is set aside or another folder is read."""

from __future__ import annotations

import resource
import shutil
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from medseg.errors import ConfigError, InputError
from medseg.io.dicom.deflated import check_unpacked
from medseg.io.dicom.read_headers import read_header
from medseg.io.dicom.rejections import check_size
from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.spatial.geometry import Geometry
from tests.support.dicom_files import SHAPE, edit, write_axial


@pytest.fixture(autouse=True)
def little_memory():
    """4 GiB of address space above what is mapped: a promise that is believed ends in a MemoryError."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 4 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def compressed_lie(path: Path) -> None:
    found = pydicom.dcmread(path)
    found.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    found["PixelData"].VR = "OB"
    found.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    found.Rows, found.Columns = 65535, 32767
    found.save_as(path)


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda path: edit(path, Rows=2000, Columns=2000), "truncated"),
        (lambda path: edit(path, Rows=65535, Columns=32767), "too_large"),
        (lambda path: edit(path, Rows=65535, Columns=65535), "too_large"),
        (lambda path: edit(path, NumberOfFrames=2_000_000_000), "enhanced_multiframe"),
        (compressed_lie, "too_large"),
    ],
)
def test_dicom_that_promises_too_much_is_refused(tmp_path, lie, code):
    for path in write_axial(tmp_path):
        lie(path)
    (scan,) = find_scans(tmp_path)
    assert (scan.verdict, scan.geometry) == (code, None)
    with pytest.raises(InputError):
        read_scan(scan)


def deflated(path: Path, more: int = 0) -> Path:
    """The file with its elements deflated, and so many bytes of padding after them."""
    found = pydicom.dcmread(path)
    if more:
        found.DataSetTrailingPadding = bytes(more)
    found.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    found.save_as(path)
    return path


def test_a_deflate_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    paths = write_axial(tmp_path)
    for path in paths:
        deflated(path)
    (scan,) = find_scans(tmp_path)
    assert scan.is_ok
    assert read_scan(scan).shape[1:] == SHAPE
    bomb = deflated(Path(shutil.copy(paths[3], tmp_path / "bomb")), 1 << 27)
    assert bomb.stat().st_size < 200_000
    unpacked: list[object] = []
    monkeypatch.setattr(zlib, "decompress", unpacked.append)
    with bomb.open("rb") as file, pytest.raises(InputError, match="unpacks to more than 67108864 bytes") as caught:
        check_unpacked(file, bomb.stat().st_size)
    assert caught.value.code == "too_large"
    with pytest.raises(InputError, match="unpacks to more"):
        read_header(bomb)
    assert unpacked == []
    monkeypatch.undo()
    assert sorted(scan.verdict for scan in find_scans(tmp_path)) == ["ok", "too_large"]
    bomb.write_bytes(bomb.read_bytes()[:700])
    assert sorted(scan.verdict for scan in find_scans(tmp_path)) == ["corrupt_file", "ok"]


def test_a_volume_larger_than_any_memory_is_refused():
    with pytest.raises(InputError, match="expected at most 2147483648"):
        check_size(Geometry((2048, 2048, 513), np.eye(4)))


@pytest.mark.parametrize(
    ("shape", "suffix", "code", "message"),
    [
        ((1000, 1000, 1000), ".nii", "corrupt_file", "the header promises 4000000352 bytes"),
        ((1000, 1000, 1000), ".nii.gz", "corrupt_file", "the header promises 4000000352 bytes"),
        ((32767, 32767, 32767), ".nii.gz", "too_large", "expected at most 2147483648"),
    ],
)
def test_nifti_that_promises_too_much_is_refused(tmp_path, shape, suffix, code, message):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.diag([1, 1, 2, 1]))
    image.set_sform(image.affine, 1)
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[42:48] = np.array(shape, "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    if suffix == ".nii.gz":
        import gzip

        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content)))
        (tmp_path / "a.nii").unlink()
    (scan,) = find_scans(tmp_path)
    assert scan.verdict == code
    assert message in scan.reason
    with pytest.raises(InputError):
        read_scan(tmp_path / f"a{suffix}")


def dicomdir(folder: Path, names: list[list[str]]) -> Path:
    """A DICOMDIR that lists these names."""
    content = pydicom.Dataset()
    content.DirectoryRecordSequence = []
    for name in names:
        record = pydicom.Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name
        content.DirectoryRecordSequence.append(record)
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    content.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    content.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    content.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_a_dicomdir_stands_for_the_files_it_lists(tmp_path, caplog):
    (tmp_path / "img").mkdir()
    paths = write_axial(tmp_path / "img")
    shutil.copytree(tmp_path / "img", tmp_path / "unlisted")
    for path in (tmp_path / "unlisted").iterdir():
        edit(path, SeriesInstanceUID="1.2.3")
    path = dicomdir(tmp_path, [["IMG", p.name] for p in paths] + [["IMG", "GONE"]])
    # Capitals in the list, small letters on the disc.
    for p in paths:
        p.rename(p.with_name(p.name.lower()))
    (scan,) = find_scans(path)
    assert (scan.verdict, len(scan.paths)) == ("ok", SHAPE[2])
    assert {p.parent for p in scan.paths} == {tmp_path / "img"}
    assert "1 of the 9 files that the DICOMDIR lists are missing" in caplog.text
    assert len(find_scans(tmp_path)) == 2


@pytest.mark.parametrize("name", [["..", "secret"], ["/etc/passwd"], ["a/../../secret"], ["C:\\x"], ["."]])
def test_a_dicomdir_cannot_lead_outside(tmp_path, name):
    (tmp_path / "cd").mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    path = dicomdir(tmp_path / "cd", [["IMG", "A"]])
    found = pydicom.dcmread(path)
    found.DirectoryRecordSequence[0].add(pydicom.DataElement(0x00041500, "LO", name))
    found.save_as(path)
    with pytest.raises(ConfigError, match=r"outside its folder|cannot be read as a DICOMDIR"):
        find_scans(path)


def test_a_dicomdir_cannot_lead_outside_by_a_linked_folder(tmp_path):
    (tmp_path / "cd").mkdir()
    (tmp_path / "elsewhere").mkdir()
    paths = write_axial(tmp_path / "elsewhere")
    (tmp_path / "cd" / "IMG").symlink_to(tmp_path / "elsewhere")
    path = dicomdir(tmp_path / "cd", [["IMG", p.name] for p in paths])
    with pytest.raises(ConfigError, match="behind a link that leads outside its folder"):
        find_scans(path)
    (tmp_path / "cd" / "IMG").unlink()
    (tmp_path / "cd" / "IMG").mkdir()
    for p in paths:
        (tmp_path / "cd" / "IMG" / p.name).symlink_to(p)
    (scan,) = find_scans(path)
    assert scan.is_ok


def test_a_damaged_dicomdir_is_explained(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"no table of contents")
    with pytest.raises(ConfigError, match="cannot be read as a DICOMDIR, name its folder instead"):
        find_scans(tmp_path / "DICOMDIR")


@pytest.mark.parametrize("keep_names", [False, True])
def test_lists_and_links_never_lead_ids_outside(tmp_path, keep_names):
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    paths = write_axial(tmp_path / "elsewhere/deep")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), tmp_path / "elsewhere/a.nii")
    (tmp_path / "in").mkdir()
    for path in paths:
        (tmp_path / "in" / path.name).symlink_to(path)
    (tmp_path / "in/list.txt").write_text("../elsewhere/a.nii\n../in/../elsewhere/deep\n")
    for source in (tmp_path / "in", tmp_path / "in/list.txt"):
        for scan in find_scans(source, keep_names=keep_names):
            assert ".." not in scan.id.split("/")
            assert not scan.id.startswith("/")
    (linked,) = find_scans(tmp_path / "in", keep_names=keep_names)
    assert linked.is_ok
