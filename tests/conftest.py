"""Shared sample data: the phantom on its grids, and one tiny model fitted once per test run."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import settings

warnings.filterwarnings("ignore", category=UserWarning, module="monai")

from medseg import Model, load_config, read_scan
from medseg.io.label_volumes import write_labels
from sample_data.phantom import phantom
from tests.support.cohorts import write_cohort
from tests.support.scans import GRIDS, write_nifti

settings.register_profile("any machine", deadline=None)  # Hypothesis' own deadline of 200 ms fails on a busy machine
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small phantoms."""
    return write_cohort(tmp_path_factory.mktemp("cohort") / "in", 5)


@pytest.fixture(scope="session")
def quick_model(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels by intensity of the whole cohort: half a second a scan."""
    changes = ["training.max_steps=4", "clustering.method=cohort", "clustering.bias_sigma_mm=null"]
    scans = [read_scan(path) for path in sorted(cohort.glob("*"))[:2]]
    folder = tmp_path_factory.mktemp("quick") / "model"
    Model.fit(scans, load_config("smoke", changes), device="cpu").save(folder)
    return folder


@pytest.fixture(scope="session")
def phantom_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noisy phantoms as NIfTI, RAS and LPS, with their truth beside them in another folder."""
    folder = tmp_path_factory.mktemp("phantoms")
    for seed, name in enumerate(("RAS", "LPS")):
        image, truth = phantom(GRIDS[name], noise=8.0, seed=seed)
        write_nifti(image, folder / "scans" / f"{name}.nii.gz")
        write_labels(truth, GRIDS[name], folder / "truths" / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def model(phantom_scans: Path) -> Model:
    """The `smoke` config fitted to the two phantoms."""
    scans = sorted((phantom_scans / "scans").glob("*.nii.gz"))
    return Model.fit([read_scan(path) for path in scans], load_config("smoke"), device="cpu")


@pytest.fixture(scope="session")
def model_folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    model.save(folder)
    return folder
