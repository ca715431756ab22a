"""deepbet: the way into its networks and back to the scan's grid, by networks whose answer is known; and itself."""

from __future__ import annotations

from importlib.metadata import PackagePath

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import read_scan
from medseg.brain import deepbet
from medseg.brain.deepbet import DRAWER, FINDER, deepbet_mask
from medseg.brain.make import make_brain_mask, source_channel
from medseg.brain.tools import TOOLS
from medseg.errors import InputError
from medseg.spatial.geometry import Geometry
from sample_data.phantom import grids, phantom
from tests.support.scans import shared

CPU = torch.device("cpu")
MEAN, SD = 0.449, 0.226


class Above(torch.nn.Module):
    """Says brain where a voxel is brighter than the darkest, and takes nothing but what the real networks are given."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] != 1 or x.shape[1] != 1 or x.shape[2] != self.side or x.shape[4] != self.side:
            raise ValueError("shape")
        if abs(float(x.mean()) - 0.449) > 1e-3 or abs(float(x.std()) - 0.226) > 1e-3:
            raise ValueError("intensities")
        brain = (x > x.min() + 0.1).float()
        return torch.cat([1 - brain, brain], dim=1)


class Package:
    """Stands for the installed distribution."""

    def __init__(self, folder):
        self.folder = folder
        self.files = [PackagePath(f"data/models/{name}") for name in (DRAWER, FINDER)]

    def locate_file(self, file):
        return self.folder / file.name


@pytest.fixture
def known_networks(tmp_path, monkeypatch):
    for name, side in ((FINDER, 128), (DRAWER, 256)):
        torch.jit.script(Above(side)).save(str(tmp_path / name))
    monkeypatch.setattr(deepbet, "distribution", lambda _name: Package(tmp_path))


@pytest.mark.parametrize("grid", ["oblique", "thick"])
def test_the_mask_lies_on_the_scans_own_grid(known_networks, grid):
    """The brain of the phantom has a hole of dark fluid in it, and a speck beside it that is none of it."""
    image, labels = phantom(grids()[grid], noise=4.0)
    brain = np.asarray(labels) > 0
    voxels = torch.where(image.as_tensor() > 0, image.as_tensor() + 200, 0)
    voxels[0, :3, :3, :3] = 300.0
    middle = [n // 2 for n in brain.shape]
    voxels[0, middle[0], middle[1], middle[2]] = 0.0
    mask = deepbet_mask(MetaTensor(voxels, affine=image.affine), CPU)
    assert Geometry.of(mask).is_close(grids()[grid])
    found = mask.as_tensor()[0].numpy() > 0
    assert not found[:3, :3, :3].any()
    assert found[tuple(middle)]
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.985


def test_nothing_but_one_intensity_holds_no_brain(known_networks):
    image = MetaTensor(torch.full((1, 20, 20, 20), 7.0), affine=torch.eye(4, dtype=torch.float64))
    with pytest.raises(InputError, match="deepbet found no brain in the scan, expected a T1 of a head") as caught:
        make_brain_mask(image, "deepbet", CPU)
    assert caught.value.code == "no_brain"


class Nothing(torch.nn.Module):
    """Finds no brain."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x * 0], dim=1)


class Failing(torch.nn.Module):
    """Made for another input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x[9]], dim=1)


@pytest.mark.parametrize(("network", "code"), [(Nothing(), "no_brain"), (Failing(), "brain_mask_failed")])
def test_networks_that_find_nothing_or_fail(tmp_path, monkeypatch, network, code):
    for name in (FINDER, DRAWER):
        torch.jit.script(network).save(str(tmp_path / name))
    monkeypatch.setattr(deepbet, "distribution", lambda _name: Package(tmp_path))
    with pytest.raises(InputError) as caught:
        make_brain_mask(phantom(grids()["LPS"])[0], "deepbet", CPU)
    assert caught.value.code == code
    assert str(tmp_path) not in str(caught.value)


def test_the_mask_is_made_of_the_channel_that_is_t1():
    both = MetaTensor(torch.stack([torch.zeros(3, 3, 3), torch.ones(3, 3, 3)]), affine=torch.eye(4))
    assert source_channel(both, ("FLAIR", "T1w")).as_tensor().min() == 1
    assert source_channel(both, ("FLAIR", "T2")).as_tensor().max() == 0
    assert source_channel(both, ()).as_tensor().max() == 0
    assert source_channel(MetaTensor(both.as_tensor()[1:], affine=both.affine), ()).as_tensor().min() == 1


def test_the_brain_of_a_simulated_head():
    """BrainWeb has a brain of its own; Dice of deepbet's with it is .972."""
    if not TOOLS["deepbet"].is_here:
        pytest.skip('deepbet is not here: pip install "medseg[brain]"')
    truth = read_scan(shared("data/brain_t1_brainweb/brain_mask.nii.gz")).as_tensor()[0].numpy() > 0
    mask = make_brain_mask(read_scan(shared("data/brain_t1_brainweb/brainweb_T1w.nii.gz")), "deepbet", CPU)
    found = mask.as_tensor()[0].numpy() > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.96
