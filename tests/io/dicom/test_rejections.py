"""DICOM series that are not regular: refused by name, by finder and reader alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from medseg.errors import InputError
from medseg.io.discovery import find_scans
from sample_data.dicom_series import write_dicom_series
from tests.support.dicom_files import (
    ALONG,
    AXIAL,
    IN_PLANE,
    assert_same_world,
    copy,
    cut,
    edit,
    loader,
    move,
    phantom,
    read,
    remove,
    the_scan,
    write_axial,
)

Defect = Callable[[list[Path]], object]


def each(change: Callable[[Path, int], object]) -> Defect:
    return lambda paths: [change(path, k) for k, path in enumerate(paths)]


def compressed(path: Path, syntax: uid.UID, **elements: Any) -> Path:
    found = pydicom.dcmread(path)
    found.PixelData = encapsulate([found.PixelData])
    found["PixelData"].VR = "OB"
    found["PixelData"].is_undefined_length = True
    found.file_meta.TransferSyntaxUID = syntax
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    found.save_as(path)
    return path


def sop_class(path: Path, name: uid.UID, **elements: Any) -> None:
    found = pydicom.dcmread(path)
    found.file_meta.MediaStorageSOPClassUID = name
    found.save_as(path)
    edit(path, SOPClassUID=name, **elements)


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


DEFECTS: dict[str, tuple[Defect, str, str]] = {
    "missing slice": (
        lambda paths: remove(paths[3]),
        "missing_slices",
        r"gap of 5 mm between slices 3 and 4, elsewhere 2.5 mm \(1 missing\)",
    ),
    "two gaps": (lambda p: remove(p[2], p[5]), "missing_slices", r"\(2 missing\)"),
    "duplicate, new UID": (
        lambda p: copy(p[4], "new"),
        "duplicate_positions",
        "slices 5 and 6 lie at the same position, expected one slice at each of the 8",
    ),
    "two indistinguishable phases": (
        each(lambda path, _: copy(path, f"b{path.name}")),
        "several_volumes",
        "2 volumes of 8 slices",
    ),
    "tilt": (
        each(lambda path, k: move(path, k * 2.5 * np.tan(np.radians(10)) * IN_PLANE)),
        "gantry_tilt",
        "lean by 10 degrees",
    ),
    "tilt and missing": (
        lambda p: (remove(p[2]), each(lambda path, k: k == 2 or move(path, k * 0.1 * IN_PLANE))(p)),
        "gantry_tilt",
        "lean by 2.29 degrees",
    ),
    "drift of 1 % a slice": (
        each(lambda path, k: move(path, 2.5 * 0.01 * k * (k - 1) / 2 * ALONG)),
        "nonuniform_spacing",
        "slice distances from 2.5 to 2.65 mm",
    ),
    "one gap 2 % off": (
        each(lambda path, k: k < 5 or move(path, 0.05 * ALONG)),
        "nonuniform_spacing",
        "2.55 mm between slices 5 and 6",
    ),
    "small steps that add up": (
        each(lambda path, k: move(path, 0.02 * abs(k - 3.5) * ALONG)),
        "nonuniform_spacing",
        "off a regular spacing",
    ),
    "one slice shifted in plane": (
        lambda p: move(p[4], 3 * IN_PLANE),
        "nonuniform_spacing",
        "slice 5 lies 3 mm beside the line",
    ),
    "copies moved in plane": (
        lambda p: move(copy(p[4], "b", EchoTime="9"), 0.04 * IN_PLANE),
        "nonuniform_spacing",
        "slice distances from 0 to 2.5 mm",
    ),
    "truncated": (lambda p: cut(p[2], 100), "truncated", "image 3 lacks 100 bytes"),
    "without pixel element": (lambda p: edit(p[2], PixelData=None), "truncated", "lacks 240 bytes"),
    "compressed without pixels": (
        lambda p: (compressed(p[2], uid.RLELossless), edit(p[2], PixelData=None)),
        "truncated",
        "lacks 240 bytes",
    ),
    "one position": (
        each(lambda path, k: move(path, -2.5 * k * ALONG)),
        "not_a_volume",
        "all 8 slices lie at one position",
    ),
    "two slices": (lambda p: remove(*p[2:]), "not_a_volume", "found 2 slices"),
    "one slice": (lambda p: remove(*p[1:]), "not_a_volume", "found one slice"),
    "localiser": (
        each(lambda path, _: edit(path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        "not_a_volume",
        "localiser",
    ),
    "screenshots": (
        each(lambda path, _: sop_class(path, uid.SecondaryCaptureImageStorage, ImagePositionPatient=None)),
        "not_a_volume",
        "Secondary Capture",
    ),
    "no images": (
        each(lambda path, _: sop_class(path, uid.BasicTextSRStorage, Rows=None, PixelData=None)),
        "not_a_volume",
        "Basic Text SR",
    ),
    "headers only": (each(lambda path, _: edit(path, Rows=None, PixelData=None)), "truncated", "without pixels"),
    "two orientations": (
        lambda p: [edit(x, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]) for x in p[:4]],
        "mixed_orientation",
        r"8 slices of one series have 2 orientations \(4 \+ 4\)",
    ),
    "two sizes, neither a volume": (
        lambda p: [edit(x, PixelSpacing=[1.1, 0.9]) for x in p[::2]] + remove(p[2], p[5]),
        "several_volumes",
        r"have 2 pixel spacings \(3 \+ 3\)",
    ),
    "mosaic": (
        each(lambda path, _: edit(path, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])),
        "mosaic",
        "Siemens mosaic",
    ),
    "colour": (
        each(lambda path, _: edit(path, SamplesPerPixel=3, PhotometricInterpretation="RGB")),
        "colour",
        "colour image",
    ),
    "palette": (
        each(lambda path, _: edit(path, PhotometricInterpretation="PALETTE COLOR")),
        "colour",
        "colour image",
    ),
    "frames": (each(lambda path, _: edit(path, NumberOfFrames=2)), "enhanced_multiframe", "2 frame"),
    "enhanced": (
        each(lambda path, _: sop_class(path, uid.EnhancedMRImageStorage)),
        "enhanced_multiframe",
        "multi-frame",
    ),
    "no position": (each(lambda path, _: edit(path, ImagePositionPatient=None)), "no_geometry", "is missing"),
    "no position and cut": (
        each(lambda path, _: (edit(path, PixelSpacing=None), cut(path, 10))),
        "truncated",
        "lacks 10 bytes",
    ),
    "position is no number": (
        each(lambda path, _: replace_bytes(path, b"-31.5", b"-3x.5")),
        "no_geometry",
        "is missing",
    ),
    "position is infinite": (
        each(lambda path, _: replace_bytes(path, b"-31.5", b"-inf ")),
        "no_geometry",
        "is missing",
    ),
    "side by side": (
        each(lambda path, k: move(path, -2.5 * k * ALONG + 9 * k * IN_PLANE)),
        "not_a_volume",
        "all 8 slices lie in one plane",
    ),
    "rows of an impossible type": (
        each(lambda path, _: replace_bytes(path, b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00FD")),
        "truncated",
        "without pixels",
    ),
    "no direction": (
        each(lambda path, _: edit(path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
        "no_geometry",
        "two orthogonal unit vectors",
    ),
    "no pixel size": (each(lambda path, _: edit(path, PixelSpacing=[0, 1])), "no_geometry", "of 1 x 0 mm"),
    "video": (
        each(lambda path, _: compressed(path, uid.MPEG4HP41)),
        "unsupported_encoding",
        "encoded as MPEG-4",
    ),
}


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_defect_is_refused_by_finder_and_reader(tmp_path: Path, name: str) -> None:
    defect, code, message = DEFECTS[name]
    defect(write_axial(tmp_path))
    scan = the_scan(tmp_path)
    assert scan.verdict == code, scan.reason
    assert scan.geometry is None
    assert len(scan.paths) == len(list(tmp_path.iterdir()))
    # LoadImage would try its other readers after an error in `read`, and return the series silently.
    with pytest.raises(InputError, match=message) as refused:
        loader()(scan.paths)
    assert refused.value.code == code
    assert str(refused.value) == scan.reason


def test_localiser_inside_is_separated(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    copy(paths[0], "scout", ImageType=kind, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], Rows=12, Columns=10)
    volume, localiser = find_scans(tmp_path)
    assert (volume.verdict, localiser.verdict) == ("ok", "not_a_volume")
    assert localiser.id == f"{volume.id}-b"
    assert_same_world(volume.paths, phantom(), AXIAL)
    with pytest.raises(InputError, match="localiser"):
        read([*volume.paths, *localiser.paths])


def test_majority_orientation_is_kept(tmp_path: Path) -> None:
    paths = write_axial(tmp_path)
    copy(paths[0], "a", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    copy(paths[0], "b", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    volume, rest = find_scans(tmp_path)
    assert (volume.verdict, rest.verdict) == ("ok", "mixed_orientation")
    assert (len(volume.paths), len(rest.paths)) == (8, 2)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("n_bytes", [30, 100])
def test_compressed_file_cut_short(tmp_path: Path, syntax: uid.UID, n_bytes: int) -> None:
    paths = write_axial(tmp_path)
    found = pydicom.dcmread(paths[2])
    found.compress(syntax, generate_instance_uid=False)
    found.save_as(paths[2])
    cut(paths[2], n_bytes)
    with pytest.raises(InputError, match="pixels of image 3 end early") as refused:
        read(paths)
    assert refused.value.code == "truncated"


def test_reader_refuses_what_is_not_one_series(tmp_path: Path) -> None:
    one = write_dicom_series((phantom(), AXIAL), tmp_path / "1", series_number=1)
    two = write_dicom_series((phantom(), AXIAL), tmp_path / "2", series_number=2)
    junk = tmp_path / "junk"
    junk.write_bytes(b"1234")
    with pytest.raises(InputError, match="16 files hold 2 volumes"):
        read([*one, *two])
    with pytest.raises(InputError, match="file 9 is not DICOM"):
        read([*one, junk])
    with pytest.raises(InputError, match="cannot be opened"):
        read([*one, tmp_path / "absent"])
    with pytest.raises(InputError, match="hold 0 volumes"):
        read([])


@pytest.mark.parametrize("pixels", [b"\xff\xd8\xff\xd9", b"no JPEG at all"])
def test_pixels_that_do_not_decode(tmp_path: Path, pixels: bytes) -> None:
    paths = write_axial(tmp_path)
    compressed(paths[2], uid.JPEGLSLossless)
    edit(paths[2], PixelData=encapsulate([pixels]))
    with pytest.raises(InputError, match="pixels of image 3 end early") as refused:
        read(paths)
    assert refused.value.code == "truncated"
