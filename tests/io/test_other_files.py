"""Files of other formats are read where they say where they lie, and named for what they are otherwise."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg import ConfigError, find_scans, read_scan
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry
from tests.support.scans import grid_of

VOXELS = np.random.default_rng(0).integers(-900, 900, (9, 8, 7)).astype(np.int16)
ROTATED = np.array([[0, -1.2, 0], [0.9, 0, 0], [0, 0, 2.5]])
AFFINE = np.vstack([np.column_stack([ROTATED, (-31.0, 12.5, 80.0)]), (0, 0, 0, 1)])
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
ANNEX = b"/annex/objects/MD5E-s4410--00.nii.gz\n"


def itk() -> sitk.Image:
    image = sitk.GetImageFromArray(VOXELS.T)
    lps = np.diag([-1.0, -1.0, 1.0]) @ AFFINE[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def write(path: Path) -> Path:
    if path.suffix in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(VOXELS, AFFINE), path)
    else:
        sitk.WriteImage(itk(), str(path), useCompression=path.name.startswith("z"))
    return path


def only(folder: Path) -> Scan:
    (scan,) = find_scans(folder)
    return scan


@pytest.mark.parametrize("name", ["a.nrrd", "z.nrrd", "a.nhdr", "a.mha", "z.mha", "a.mhd", "z.mhd", "a.mgz", "a.mgh"])
def test_read_on_its_own_grid_in_ras_mm(tmp_path: Path, name: str) -> None:
    scan = only(write(tmp_path / name).parent)
    assert (scan.id, scan.verdict, scan.format) == (name[0], "ok", "volume")
    image = read_scan(scan)
    assert Geometry.of(image).is_close(Geometry((9, 8, 7), AFFINE), 1e-4)
    assert grid_of(scan).is_close(Geometry.of(image), 1e-9)
    assert np.array_equal(image[0].numpy(), VOXELS)
    assert np.array_equal(read_scan(tmp_path / name)[0].numpy(), VOXELS)


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    write(tmp_path / "a.mha").rename(tmp_path / "M\udcfcller.mha")
    assert only(tmp_path).id == "M_xFCller"
    assert np.array_equal(read_scan(only(tmp_path))[0].numpy(), VOXELS)


@pytest.mark.parametrize(
    ("unit", "scale"), [('"um" "um" "um"', 1e-3), ('"mm" "mm" "mm"', 1), ('"parsec" "mm" "mm"', 0)]
)
def test_units_of_nrrd(tmp_path: Path, unit: str, scale: float) -> None:
    path = write(tmp_path / "a.nrrd")
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head + b"\nspace units: " + unit.encode() + b"\n\n" + voxels)
    scan = only(tmp_path)
    if not scale:
        assert scan.verdict == "wrong_unit"
    else:
        assert np.allclose(grid_of(scan).spacing_mm, np.array([0.9, 1.2, 2.5]) * scale)


@pytest.mark.parametrize(
    ("name", "old", "new", "verdict"),
    [("a.nrrd", b"left-posterior-superior", b"scanner-xyz", "no_geometry"),
     ("a.mha", b"TransformMatrix", b"Nothing", "no_geometry"),
     ("a.mhd", b"ElementDataFile = a.raw", b"ElementDataFile = ../b.raw", "unsupported_format"),
     ("a.mhd", b"ElementDataFile = a.raw", b"ElementDataFile = b.raw", "missing_content"),
     ("a.nrrd", b"NRRD", b"XXXX", "corrupt_file"),
     ("a.nrrd", b"space: left-posterior-superior\n", b"", "no_geometry"),
     ("a.nrrd", b"(31,", b"(nan,", "no_geometry"),
     ("a.nrrd", b"space directions: (", b"space directions: none (", "no_geometry"),
     ("a.mha", b"Offset = 31", b"Offset = nan", "no_geometry"),
     ("a.mha", b"ElementSpacing = 0", b"ElementSpacing = x", "no_geometry"),
     ("z.nrrd", b"encoding: gzip", b"encoding: bzip2", "unsupported_format"),
     ("a.nrrd", b"encoding:", b'space units: "m" "m" "m"\nencoding:', "wrong_unit")],
)  # fmt: skip
def test_refused(tmp_path: Path, name: str, old: bytes, new: bytes, verdict: str) -> None:
    path = write(tmp_path / name)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert only(tmp_path).verdict == verdict


def test_labels_in_other_formats(tmp_path: Path) -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    image = sitk.GetImageFromArray(labels)
    for name in ("a.mha", "b_mask.nrrd", "c.seg.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
    nib.save(nib.MGHImage(labels, np.eye(4)), tmp_path / "aseg.mgz")
    verdicts = {scan.id: scan.verdict for scan in find_scans(tmp_path)}
    assert verdicts.pop("a") in {"label_map", "ok"}
    assert set(verdicts.values()) == {"label_map"}


def test_names_that_lie_about_compression(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, AFFINE)
    nib.save(image, tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    (tmp_path / "a.nii").write_bytes(gzip.compress(plain, mtime=0))
    for scan in find_scans(tmp_path):
        assert np.array_equal(read_scan(scan)[0].numpy(), VOXELS)


@pytest.mark.parametrize(
    ("content", "verdict", "told"),
    [(LFS, "missing_content", "git lfs pull"), (ANNEX, "missing_content", "datalad get"),
     (b"PK\x03\x04" + bytes(99), "archive", "a zip archive"), (b"BZh9" + bytes(99), "archive", "bzip2"),
     (gzip.compress(gzip.compress(bytes(999), mtime=0), mtime=0), "archive", "compressed twice"),
     (b"<!DOCTYPE html><html>", "corrupt_file", "a web page"), (b"NRRD0005\n", "unsupported_format", "NRRD"),
     (bytes(128) + b"DICM", "unsupported_format", "a DICOM file"),
     ((348).to_bytes(4, "little") + bytes(400), "unsupported_format", "Analyze 7.5")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_named_for_what_it_is(tmp_path: Path, content: bytes, verdict: str, told: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    scan = only(tmp_path)
    assert scan.verdict == verdict
    assert told in scan.reason


@pytest.mark.parametrize(("kind", "told"), [(nib.AnalyzeImage, "Analyze 7.5"), (nib.Nifti1Pair, "in two files")])
def test_pairs_of_files(tmp_path: Path, kind: type[nib.AnalyzeImage], told: str) -> None:
    nib.save(kind(VOXELS, np.eye(4)), tmp_path / "a.img")
    assert (only(tmp_path).verdict, told in only(tmp_path).reason) == ("unsupported_format", True)


def test_archives(tmp_path: Path) -> None:
    for name, inner in (("scans.zip", "a/b.dcm"), ("paper.zip", "paper.tex")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inner, "x")
    assert (only(tmp_path).id, only(tmp_path).verdict) == ("scans", "archive")
    (tmp_path / "x.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    (scan,) = find_scans(tmp_path / "x.7z")
    assert scan.verdict == "archive"
    assert "a 7z archive, whose content cannot be looked at, expected files; unpack it" in scan.reason
    (tmp_path / "x.gho").write_bytes(b"Rar!")
    with pytest.raises(ConfigError, match="a rar archive; unpack it"):
        find_scans(tmp_path / "x.gho")


TAR_MODES: dict[str, Literal["w:", "w:gz", "w:xz", "w:bz2"]] = {
    "a.tar": "w:", "a.tar.gz": "w:gz", "a.tgz": "w:gz", "a.tar.xz": "w:xz", "a.tar.bz2": "w:bz2",
}  # fmt: skip


@pytest.mark.parametrize("name", TAR_MODES)
@pytest.mark.parametrize(("inner", "is_told"), [("p/DICOMDIR", True), ("s/a.nii", True), ("code.py", False)])
def test_tar_archives(tmp_path: Path, name: str, inner: str, is_told: bool) -> None:
    with tarfile.open(tmp_path / name, TAR_MODES[name]) as archive:
        archive.addfile(tarfile.TarInfo("README"))
        archive.addfile(tarfile.TarInfo(inner))
    assert [(scan.id, scan.verdict) for scan in find_scans(tmp_path)] == [("a", "archive")] * is_told


def test_a_zip_archive_of_dicom_files_without_endings(tmp_path: Path) -> None:
    for name, start in (("export.zip", b"DICM"), ("other.zip", b"none")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("P1/IM1", bytes(128) + start)
    assert "found a zip archive with 1 image, expected files" in only(tmp_path).reason


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
              ".bz2": bz2.compress, ".xz": lzma.compress, ".Z": lambda _: b"\x1f\x9d" + bytes(99),
              ".zst": lambda _: b"\x28\xb5\x2f\xfd" + bytes(99)}  # fmt: skip


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_nifti_compressed_otherwise(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.nii{suffix}").write_bytes(COMPRESSED[suffix](bytes(999)))
    assert (only(tmp_path).id, only(tmp_path).verdict) == ("a", "archive")
    assert "NIfTI that is not compressed, or by gzip; unpack it" in only(tmp_path).reason
    (tmp_path / f"a.nii{suffix}").write_bytes(b"nothing")
    assert only(tmp_path).verdict == "corrupt_file"


@pytest.mark.parametrize("suffix", [".dcm.gz", ".IMA.bz2"])
def test_dicom_files_that_are_compressed_one_by_one(tmp_path: Path, suffix: str) -> None:
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}{suffix}").write_bytes(b"x")
    first, second = sorted(find_scans(tmp_path), key=lambda scan: -len(scan.paths))
    assert (first.verdict, len(first.paths), len(second.paths)) == ("archive", 2, 1)
    assert first.reason.startswith("2 DICOM files of one folder compressed one by one")


def test_pairs_that_are_compressed(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(VOXELS, np.eye(4)), tmp_path / "a.img")
    for suffix in (".hdr", ".img"):
        path = tmp_path / f"a{suffix}"
        path.with_name(f"a{suffix}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert (only(tmp_path).id, only(tmp_path).verdict) == ("a", "unsupported_format")
    assert "in two files" in only(tmp_path).reason


@pytest.mark.parametrize(
    ("name", "start", "told"),
    [("a.PAR", b"# === DATA DESCRIPTION FILE ===\n", "PAR/REC"),
     ("a+orig.HEAD", b"\ntype  = integer-attribute\n", "AFNI"),
     ("a.mnc", b"\x89HDF\r\n", "MINC"), ("a.v", b"MATRIX72v", "ECAT")],
)  # fmt: skip
def test_formats_that_are_not_read_are_named(tmp_path: Path, name: str, start: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(start + bytes(600))
    assert (only(tmp_path).verdict, told in only(tmp_path).reason) == ("unsupported_format", True)
    (tmp_path / name).write_bytes(b"module something else")
    assert find_scans(tmp_path) == []


@pytest.mark.parametrize(
    ("made", "name", "told"),
    [("a.nii.gz", "x.mgz", "a NIfTI file"), ("a.nii", "x.mgh", "a NIfTI file"), ("a.nii", "x.nrrd", "a NIfTI file"),
     ("a.nrrd", "x.mha", "an NRRD file"), ("a.mha", "x.nrrd", "a MetaImage file"), ("a.nrrd", "x.mgz", "an NRRD file")],
)  # fmt: skip
def test_other_formats_that_lie_about_their_name(tmp_path: Path, made: str, name: str, told: str) -> None:
    image = nib.Nifti1Image(VOXELS, AFFINE)
    path = tmp_path / made
    if ".nii" in made:
        nib.save(image, path)
    else:
        write(path)
    path.rename(tmp_path / name)
    assert (only(tmp_path).verdict, told in only(tmp_path).reason) == ("unsupported_format", True)


def test_an_mgh_file_without_its_flag(tmp_path: Path) -> None:
    """nibabel sets the flag, and makes up voxels of 1 mm."""
    path = write(tmp_path / "a.mgz")
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[28:30] = bytes(2)
    path.write_bytes(gzip.compress(bytes(content)))
    assert (only(tmp_path).verdict, "RAS flag" in only(tmp_path).reason) == ("no_geometry", True)


def test_an_mgh_file_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mgh").write_bytes((1).to_bytes(4, "big") + bytes(999))
    assert only(tmp_path).verdict == "corrupt_file"


@pytest.mark.parametrize("name", ["a.raw", "voxels", "a.bin", "a.img"])
@pytest.mark.parametrize("group", [b"\x08\x00\x16\x00", b"\x08\x00\x08\x00", b"\x00\x08\x00\x16"])
def test_raw_voxels_that_begin_like_dicom(tmp_path: Path, name: str, group: bytes) -> None:
    (tmp_path / name).write_bytes(group + b"\x06\x00\x00\x00" + b"\x01\x02\x03\x04\x05\x06" * 999)
    assert find_scans(tmp_path) == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Failed to allocate memory for image.")])
def test_a_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = write(tmp_path / "a.nrrd")

    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr(sitk, "ReadImage", fail)
    with pytest.raises(type(error)):
        read_scan(path)
