from __future__ import annotations

import numpy as np

from medseg import find_scans, read_scan
from medseg.spatial.geometry import Geometry
from sample_data.__main__ import write_brain, write_ct
from tests.support.scans import grid_of


def test_the_brain_is_the_same_as_nifti_and_as_dicom(tmp_path):
    write_brain(tmp_path)
    nifti, dicom = (scan for scan in sorted(find_scans(tmp_path), key=lambda s: s.format, reverse=True))
    assert (nifti.id, nifti.verdict, dicom.verdict, dicom.modality) == ("mni152_T1w", "ok", "ok", "MR")
    first, second = read_scan(nifti), read_scan(dicom)
    assert first.shape == (1, 197, 233, 189)
    points = np.array([[0.0, 0, 0], [30, -20, 10], [-25, 40, 35]])
    for point in points:
        i, j = (tuple(np.rint(Geometry.of(x).to_index([point])[0]).astype(int)) for x in (first, second))
        assert abs(float(first[0][i]) - float(second[0][j])) <= 1
    assert float(first.max()) == 1000


def test_the_ct_is_a_real_series(tmp_path):
    write_ct(tmp_path)
    (scan,) = find_scans(tmp_path)
    image = read_scan(scan)
    assert (scan.verdict, scan.modality, image.shape) == ("ok", "CT", (1, 16, 16, 5))
    assert grid_of(scan).spacing_mm[2] == 2.5
