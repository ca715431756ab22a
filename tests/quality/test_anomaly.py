"""The anomaly map lies on the scan and names its unit; whether it finds lesions is for `benchmarks.anomaly`."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.cli.main import main
from medseg.io.maps import STEP, write_map
from medseg.quality.anomaly import UNIT, scales_of
from medseg.spatial.geometry import Geometry
from sample_data.faults import person
from tests.support.scans import load_nifti, nifti_grid, write_nifti


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A scan with a dark ball deep inside the second tissue, segmented by a model that never saw such a thing."""
    folder = tmp_path_factory.mktemp("anomaly")
    Model.fit([person(1), person(2)], load_config("smoke"), device="cpu").save(folder / "model")
    image = person(3)
    voxels = image.as_tensor().clone()
    i, j, k = np.meshgrid(*(np.arange(n) for n in image.shape[1:]), indexing="ij")
    ball = (i - 25) ** 2 + (j - 19) ** 2 + (k - 22) ** 2 <= 2**2
    voxels[0][torch.from_numpy(ball)] = 0.3 * float(voxels[0][torch.from_numpy(ball)].mean())
    write_nifti(MetaTensor(voxels, affine=image.affine), folder / "scans" / "a.nii.gz")
    out = folder / "out"
    words = ["segment", folder / "scans", "--model", folder / "model", "--out", out, "--write", "nifti,anomaly"]
    assert main([*map(str, words), "--workers", "0", "--device", "cpu"]) == 0
    return out, Geometry.of(image)


def test_the_map_lies_on_the_scan_and_names_its_unit(segmented):
    out, geometry = segmented
    found = load_nifti(out / "a_anomaly.nii.gz")
    assert nifti_grid(found).is_close(geometry)
    assert found.get_data_dtype() == np.int16
    assert bytes(found.header["descrip"]).rstrip(b"\0").decode() == UNIT
    labels = np.asarray(load_nifti(out / "a_seg.nii.gz").dataobj)
    values = found.get_fdata()
    assert values[labels == 0].max() == 0
    assert values.min() >= 0
    assert 0.2 < np.median(values[labels > 0]) < 3  # robust standard deviations


def test_measures_and_flags_are_written(segmented):
    out = segmented[0]
    with (out / "manifest.csv").open() as file:
        (row,) = csv.DictReader(file)
    with (out / "quality.csv").open() as file:
        (quality,) = csv.DictReader(file)
    assert row["status"] == "done"
    assert quality["scan"] == "a"
    assert int(quality["n_flags"]) == len([flag for flag in row["flags"].split("; ") if flag])
    assert float(quality["foreground_ml"]) > 100
    assert 0 < float(quality["label_2_share"]) < 1


def test_a_map_keeps_its_values_to_half_a_step(tmp_path):
    values = np.random.default_rng(0).gamma(1, 3, (5, 6, 7)).astype(np.float32)
    values[0, 0, 0] = 1e6
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    image = MetaTensor(torch.from_numpy(values[None]), affine=torch.as_tensor(affine))
    write_map(image, tmp_path / "a.nii.gz", unit="sd")
    write_map(image, tmp_path / "b.nii.gz", unit="sd")
    found = load_nifti(tmp_path / "a.nii.gz")
    expected = np.minimum(values, 32767 * STEP)
    assert np.abs(found.get_fdata() - expected).max() <= STEP / 2 + 1e-4
    assert np.allclose(found.affine, affine)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_coarse_grids_end_where_their_voxels_grow_too_large():
    assert scales_of((1.0, 1.0, 1.0)) == [1, 2, 4]
    assert scales_of((2.0, 2.0, 2.0)) == [1, 2]
    assert scales_of((0.9, 1.5, 0.9)) == [1, 2]
    assert scales_of((6.0, 6.0, 6.0)) == [1]
