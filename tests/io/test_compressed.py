"""Compressed voxels whose checksum is wrong, or that end early, are damaged, whatever a library makes of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg import InputError, read_scan
from medseg.io.compressed import Packed, check_whole, unpacked

VOXELS = np.random.default_rng(0).normal(100, 20, (20, 20, 20)).astype(np.float32)
NAMES = ("a.nii.gz", "a.mgz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd")


def write(folder: Path, name: str) -> Path:
    """Write the voxels compressed; returns the file that holds them."""
    path = folder / name
    if name.endswith((".nii.gz", ".mgz")):
        nib.save((nib.MGHImage if name.endswith("z") and "mgz" in name else nib.Nifti1Image)(VOXELS, np.eye(4)), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(VOXELS.T), str(path), useCompression=True)
    return next((p for p in folder.iterdir() if p != path), path)


def refused(path: Path) -> bool:
    with pytest.raises(InputError) as caught:
        read_scan(path)
    return caught.value.code == "corrupt_file"


@pytest.mark.parametrize("name", NAMES)
def test_sound(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert np.array_equal(read_scan(tmp_path / name)[0].numpy(), VOXELS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", [-3, -6, -3000])
def test_a_byte_that_a_copy_changed(tmp_path: Path, name: str, at: int) -> None:
    path = write(tmp_path, name)
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(bytes(content))
    assert refused(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_bytes", [3, 5000])
def test_cut(tmp_path: Path, name: str, n_bytes: int) -> None:
    path = write(tmp_path, name)
    path.write_bytes(path.read_bytes()[:-n_bytes])
    assert refused(tmp_path / name)


def test_voxels_that_are_not_compressed_as_the_header_says(tmp_path: Path) -> None:
    """SimpleITK reads what lies in memory."""
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.T), str(path))
    path.write_bytes(path.read_bytes().replace(b"CompressedData = False", b"CompressedData = True"))
    assert refused(path)


@pytest.mark.parametrize("behind", [b"", bytes(512), b"junk", b"\x1f\x8bjunk"])
def test_members_and_what_follows_them(tmp_path: Path, behind: bytes) -> None:
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]) + behind)
    assert np.array_equal(read_scan(path)[0].numpy(), VOXELS)


def test_less_than_promised(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"xx" + gzip.compress(bytes(99)))
    assert unpacked(Packed(path, 2), 99) == bytes(99)
    assert unpacked(Packed(path, 2), 9) == bytes(9)
    for function in (unpacked, check_whole):
        with pytest.raises(EOFError, match="found 99 bytes, expected 100"):
            function(Packed(path, 2), 100)
