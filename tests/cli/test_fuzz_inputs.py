"""Mutated masks and lists of paths: refused in a sentence or read right, as the other kinds of `test_fuzz.py`."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
from hypothesis import strategies as st

from medseg.errors import ConfigError, InputError
from medseg.io.discovery import find_scans
from medseg.io.read import read_mask, read_scan
from medseg.spatial.geometry import Geometry
from tests.support.dicom_files import write_axial
from tests.support.fuzzing import Bytes, fuzzed, nifti_places, overwritten, refusing

SHAPE = (7, 6, 5)
AFFINE = np.diag([-1.0, 2, 3, 1])


@pytest.fixture(scope="module")
def sound_mask(tmp_path_factory):
    path = tmp_path_factory.mktemp("mask") / "a.nii"
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[2:5, 1:4, 1:3] = 1
    image = nib.Nifti1Image(voxels, AFFINE)
    image.set_qform(AFFINE, 1)
    nib.save(image, path)
    return path.read_bytes()


@fuzzed(0.2, places=nifti_places(), length=st.one_of(st.none(), st.none(), st.none(), st.integers(0, 600)))
def test_masks(tmp_path, sound_mask, places, length):
    path = tmp_path / "a.nii"
    path.write_bytes(overwritten(sound_mask, places, length))
    with refusing(InputError):
        mask = read_mask(path, Geometry(SHAPE, AFFINE))
        values = mask.as_tensor().numpy()
        assert values.shape == (1, *SHAPE)
        assert set(np.unique(values)) <= {0.0, 1.0}
        assert values.any()
        assert np.array_equal(mask.affine.numpy(), AFFINE)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder with scans and other things that a list may name."""
    folder = tmp_path_factory.mktemp("lists")
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)), folder / "a.nii")
    (folder / "series").mkdir()
    write_axial(folder / "series")
    (folder / "empty").mkdir()
    (folder / "notes.md").write_text("no scan")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    return folder


Lines = st.one_of(
    st.sampled_from([b"a.nii", b"series", b"series/IM0001.dcm", b"../lists/a.nii", b"empty", b".", b"", b"missing",
                     b"notes.md", b"loop", b"pipe", b"list.txt", b"/dev/null", b"/dev/zero", b"a.nii/", b"./a.nii",
                     b"x" * 300, b"x/" * 3000, b"a\0b", b"~", b"# a comment", b"\xff\xfe", "ü".encode("latin-1"),
                     b"\xef\xbb\xbfa.nii", b"\x1b[2J", b"series/../a.nii"]),
    st.binary(max_size=20),
)  # fmt: skip


@fuzzed(0.1, lines=st.lists(Lines, max_size=6), end=st.sampled_from([b"\n", b"\r\n", b"\r", b""]),
        mark=st.sampled_from([b"", b"", b"", b"\xff\xfe", b"\xfe\xff"]),
        places=st.lists(st.tuples(st.integers(0, 200), Bytes), max_size=1))  # fmt: skip
def test_lists_of_paths(scans, lines, end, mark, places):
    path = scans / "list.txt"
    content = mark + end.join(lines)
    path.write_bytes(overwritten(content, places if content else [], None))
    with refusing(ConfigError):
        for scan in find_scans(path):
            assert scan.id.isprintable()
            assert ".." not in scan.id.split("/")
            assert not scan.id.startswith("/")
            if scan.is_ok:
                assert read_scan(scan).ndim == 4
