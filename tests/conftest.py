"""Shared sample data: the phantom on its grids, and one tiny model fitted once per test run."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

warnings.filterwarnings("ignore", category=UserWarning, module="monai")

from medseg import Model, load_config, read_scan
from medseg.io.labels import write_labels
from sample_data.phantom import grids, phantom

SHARED = Path(__file__).parents[2] / "shared"
GRIDS = grids()


def shared(path: str) -> Path:
    """A file of the real scans beside the project; the test is skipped where they are absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"real scans not here: {path}")
    return found


def write_nifti(image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.asarray(image.affine)
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy(), affine)
    nifti.set_sform(affine, 1)
    nifti.set_qform(affine, 1)
    nib.save(nifti, path)
    return path


@pytest.fixture(scope="session")
def phantom_scans(tmp_path_factory) -> Path:
    """Two noisy phantoms as NIfTI, RAS and LPS, with their truth beside them in another folder."""
    folder = tmp_path_factory.mktemp("phantoms")
    for seed, name in enumerate(("RAS", "LPS")):
        image, truth = phantom(GRIDS[name], noise=8.0, seed=seed)
        write_nifti(image, folder / "scans" / f"{name}.nii.gz")
        write_labels(truth, GRIDS[name], folder / "truths" / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def model(phantom_scans) -> Model:
    """The `smoke` config fitted to the two phantoms."""
    scans = sorted((phantom_scans / "scans").glob("*.nii.gz"))
    return Model.fit([read_scan(path) for path in scans], load_config("smoke"), device="cpu")


@pytest.fixture(scope="session")
def model_folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    model.save(folder)
    return folder
