"""The writer of made-up series."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from sample_data.dicom_series import write_dicom_series
from tests.support.dicom_files import (
    AXIAL,
    phantom,
)


def test_writer_refuses_shear_and_overflow(tmp_path: Path) -> None:
    sheared = AXIAL.copy()
    sheared[1, 2] = 0.5
    with pytest.raises(ValueError, match="right angles"):
        write_dicom_series((phantom(), sheared), tmp_path)
    with pytest.raises(ValueError, match="do not fit"):
        write_dicom_series((phantom() * 100, AXIAL), tmp_path, modality="CT")


def test_writer_is_deterministic(tmp_path: Path) -> None:
    first = write_dicom_series((phantom(), AXIAL), tmp_path / "1", seed=3)
    second = write_dicom_series((phantom(), AXIAL), tmp_path / "2", seed=3)
    other = write_dicom_series((phantom(), AXIAL), tmp_path / "3", seed=4)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    uids = [pydicom.dcmread(paths[0]).SeriesInstanceUID for paths in (first, other)]
    assert uids[0] != uids[1]
