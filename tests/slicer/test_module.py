"""The Slicer module's logic in a real 3D Slicer without a window: load, segment, named segments, names written back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg import Code, Geometry, Model, read_scan
from sample_data.phantom import phantom
from tests.support.paths import ROOT, SUPPORT
from tests.support.scans import GRIDS, write_nifti


def drive(model: Path, scan: Path, folder: Path) -> dict[str, object]:
    python = Path(os.environ.get("MEDSEG_SLICER_PYTHON", ROOT / ".venv-slicer" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no 3D Slicer: {python} does not exist, MEDSEG_SLICER_PYTHON can name another")
    program = folder / "medseg"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m medseg "$@"\n')
    program.chmod(0o755)
    words = (SUPPORT / "slicer_module.py", ROOT / "slicer" / "MedSeg", program, model, scan, folder)
    command = [str(python), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ["RAS", "oblique"])
def test_named_segments_lie_where_the_scan_lies_and_names_come_back(model_folder, tmp_path, name):
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    loaded = Model.load(model, device="cpu")
    table = loaded.table.replace(2, name="bright & white", code=Code(value="68523003", meaning="White matter"))
    loaded.relabelled(table, {}).save(model)
    image, _ = phantom(GRIDS[name], noise=5.0)
    scan = write_nifti(image, tmp_path / "scan.nii")
    expected = Model.load(model, device="cpu").segment(read_scan(scan))
    found = drive(model, scan, tmp_path)
    assert found["progress"] == 1
    segments = found["segments"]
    assert isinstance(segments, list)
    assert [segment["name"] for segment in segments] == [label.name for label in expected.table]
    assert [segment["color"] for segment in segments] == [list(label.color) for label in expected.table]
    counts = [int((expected.labels == label.number).sum()) for label in expected.table]
    assert [segment["voxels"] for segment in segments] == pytest.approx(counts, rel=2e-4)  # Slicer rounds the affine
    affine = np.array(segments[0]["affine"])
    assert np.abs(np.linalg.norm(affine[:3, :3], axis=0) - GRIDS[name].spacing_mm).max() < 1e-3
    whole = np.array(found["confidence_affine"])
    shown = Geometry(GRIDS[name].shape, whole)
    assert shown.is_close(GRIDS[name]) or shown.in_ras_order().is_close(GRIDS[name].in_ras_order())
    sure = found["confidence"]
    assert isinstance(sure, list)
    assert 0 <= sure[0] < 0.5 < sure[1] <= 1
    assert found["rename"] == ["--name", "1=renamed in Slicer", "--color", "1=255,0,0", "--code", "1=10200004:Liver"]
    again = found["read_again"]
    assert isinstance(again, list)
    assert again[0] == ["renamed in Slicer", [255, 0, 0], ["10200004", "Liver"]]
    assert again[1][0] == "bright & white"
