"""Every encoding that the packages at hand decode, and all DICOM files that pydicom ships: decoded or refused."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.data import get_testdata_file
from pydicom.errors import InvalidDicomError

from medseg.errors import InputError, OutputError
from medseg.io.dicom.pixels import decode
from medseg.io.dicom.read_headers import read_header
from medseg.io.dicom.rejections import check_pixels, refusal_of
from medseg.io.discovery import find_scans
from tests.support.dicom_files import ALONG, PACKAGE, edit, move, read

BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "truncated",
    "MR_truncated.dcm": "truncated",
    "rtplan_truncated.dcm": "not_a_volume",
}
"""Files that are damaged on purpose, and how they are refused."""


def outcome(path: Path) -> str:
    """``pixels``, ``no DICOM``, or the code of the refusal; anything else is an error."""
    try:
        header = read_header(path)
        if header is None:
            return "no DICOM"
        refusal = refusal_of(header)
        if refusal and (refusal.code not in {"no_geometry", "not_a_volume"} or not header.rows or header.is_colour):
            return refusal.code
        if refusal and header.n_frames > 1:
            return refusal.code
        check_pixels(header)
        headers = header.frames or (header,)
        images = list(decode(headers))
    except InputError as error:
        return error.code
    assert len(images) == len(headers)
    assert all(image.shape == (header.rows, header.columns) for image in images)
    assert all(np.isfinite(image).all() for image in images)
    return "pixels"


def test_every_file_of_pydicom_is_decoded_or_refused_by_name():
    files = sorted(path for path in PACKAGE.glob("*") if path.suffix == ".dcm")
    assert len(files) >= 78
    found = {path.name: outcome(path) for path in files}
    assert {name: found[name] for name in BROKEN if name in found} == {n: c for n, c in BROKEN.items() if n in found}
    codes = set(found.values())
    assert codes <= {"pixels", "no DICOM", "truncated", "not_a_volume", "colour", "corrupt_file", "enhanced_multiframe",
                     "unsupported_encoding", "no_geometry", "too_large"}  # fmt: skip
    assert sum(code == "pixels" for code in found.values()) >= 23
    for name, code in found.items():
        if code == "no DICOM":
            with pytest.raises(InvalidDicomError):
                pydicom.dcmread(PACKAGE / name)


STACKABLE = ("JPEG-lossy", "JPEG2000", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless")


@pytest.mark.parametrize("name", STACKABLE)
def test_a_stack_of_compressed_slices_equals_another_decoder(tmp_path, name):
    source = get_testdata_file(f"{name}.dcm")
    assert isinstance(source, str)
    for k in range(3):
        target = tmp_path / f"{k}"
        shutil.copy(source, target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            edit(target, SOPInstanceUID=f"1.2.{k}", ImagePositionPatient=[0, 0, 0], PixelSpacing=[1, 1],
                 ImageOrientationPatient=[1, 0, 0, 0, 1, 0], SOPClassUID="1.2.840.10008.5.1.4.1.1.4")  # fmt: skip
            move(target, 3.0 * k * ALONG)
    (scan,) = find_scans(tmp_path)
    assert scan.is_ok, scan.reason
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "0")))[0]
    np.testing.assert_array_equal(read(scan.paths)[0][:, :, 1].T, expected)


@pytest.mark.parametrize("error", [MemoryError(), OutputError("full", code="disk_full", place=Path("/tmp"))])
def test_what_is_the_machine_s_fault_is_no_damage(monkeypatch, error):
    header = read_header(Path(str(get_testdata_file("CT_small.dcm"))))
    assert header is not None

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pydicom, "dcmread", fail)
    with pytest.raises(type(error)) as caught:
        list(decode([header]))
    assert caught.value is error
