"""Numbers of things in sentences."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import main
from medseg.wording import count_of


@pytest.mark.parametrize(("number", "text"), [(0, "0 scans"), (1, "1 scan"), (2, "2 scans")])
def test_counts(number, text):
    assert count_of(number, "scan") == text


def test_one_scan_and_one_label_map(tmp_path, capsys):
    noise = np.random.default_rng(0).normal(100, 10, (20, 20, 20)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "a.nii")
    assert main(["inspect", str(tmp_path)]) == 0
    assert "1 scan found: 1 ok, 0 refused" in capsys.readouterr().out
    nib.save(nib.Nifti1Image((noise > 100).astype(np.uint8), np.eye(4)), tmp_path / "a_mask.nii")
    assert main(["inspect", str(tmp_path)]) == 0
    assert "2 scans found: 1 ok, 0 refused, 1 label map" in capsys.readouterr().out
