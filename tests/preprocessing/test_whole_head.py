"""Whole heads are noticed, brains are not mistaken for one, whatever their background, unit, size and field of view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config, read_scan
from medseg.errors import InputError
from medseg.model.cohort import Watch
from medseg.preprocessing.foreground import find_foreground
from medseg.preprocessing.whole_head import MOST_BRAIN_ML, MOST_VALLEYS, check_skull_stripped, head_signs
from sample_data.heads import head, head_grid
from sample_data.phantom import grids, phantom
from tests.support.scans import shared

HEAD, INSIDE = head(head_grid())
BRAIN = MetaTensor(HEAD.as_tensor() * torch.from_numpy(INSIDE), affine=HEAD.affine)


def signs_of(image):
    return head_signs(image, find_foreground(image))


def scaled(image, factor):
    affine = torch.as_tensor(image.affine).clone()
    affine[:3] *= factor
    return MetaTensor(image.as_tensor().clone(), affine=affine)


def changed(image, change):
    return MetaTensor(change(image.as_tensor().clone()), affine=image.affine)


def zero_air(voxels):
    found = find_foreground(HEAD).as_tensor()
    return voxels * found


HEADS = {
    "as it is": HEAD,
    "air set to zero": changed(HEAD, zero_air),
    "a child's": scaled(HEAD, 0.8),
    "other units": changed(HEAD, lambda v: 40 * v - 3000),
    "no neck, no vertex": changed(HEAD, lambda v: v[..., 15:45]),
    "one half": changed(HEAD, lambda v: v[:, : v.shape[1] // 2]),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_noticed_by_its_skull(name):
    signs = signs_of(HEADS[name])
    assert signs.volume_ml < MOST_BRAIN_ML
    assert signs.skull_share > 0.7
    assert signs.is_head


def test_a_large_head_is_noticed_by_its_size():
    signs = signs_of(scaled(HEAD, 1.15))
    assert signs.volume_ml > MOST_BRAIN_ML
    assert signs.is_head


def noisy_background(voxels):
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 8, voxels.shape).astype(np.float32))
    return torch.where(voxels == 0, noise.abs(), voxels)


def z_scored(voxels):
    inside = voxels[voxels > 0]
    return torch.where(voxels > 0, (voxels - inside.mean()) / inside.std(), torch.zeros(()))


def fat_left(voxels):
    """Extraction that left a bit of scalp somewhere."""
    whole = HEAD.as_tensor()
    return torch.where((torch.arange(voxels.shape[1])[:, None, None] < 8) & (whole > 60), whole, voxels)


BRAINS = {
    "as it is": BRAIN,
    "noise around it": changed(BRAIN, noisy_background),
    "z-scores": changed(BRAIN, z_scored),
    "a constant around it": changed(BRAIN, lambda v: torch.where(v == 0, torch.tensor(500.0), v)),
    "one half": changed(BRAIN, lambda v: v[:, : v.shape[1] // 2]),
    "one half, the other zero": changed(BRAIN, lambda v: v * (torch.arange(v.shape[1]) < 28)[:, None, None]),
    "lower half": changed(BRAIN, lambda v: v[..., : v.shape[3] // 2]),
    "a monkey's": scaled(BRAIN, 0.4),
    "a mouse's": scaled(BRAIN, 0.06),
    "inside only": changed(BRAIN, lambda v: v[:, 22:34, 24:36, 20:32]),
    "a bit of scalp left": changed(BRAIN, fat_left),
}


@pytest.mark.parametrize("name", BRAINS)
def test_a_brain_is_no_head(name):
    signs = signs_of(BRAINS[name])
    assert signs.skull_share <= 0.15
    assert not signs.is_head


@pytest.mark.parametrize("grid", grids())
def test_brains_on_every_grid_are_no_heads(grid):
    assert not signs_of(phantom(grids()[grid], noise=8.0)[0]).is_head


def test_the_refusal_says_what_to_do():
    for image, words in ((HEAD, "fat and a skull below the surface"), (scaled(HEAD, 1.15), "more than any brain has")):
        with pytest.raises(InputError, match=words) as caught:
            check_skull_stripped(image, find_foreground(image))
        assert caught.value.code == "not_skull_stripped"
        assert "--brain-mask auto" in str(caught.value)
        assert "--masks" in str(caught.value)


def test_a_model_of_brains_takes_no_head_but_inside_a_mask(tmp_path):
    few = ["training.max_steps=1", "autoencoder.channels=4", "training.patch_size=16"]
    config, refused = load_config("smoke", [*few, "preprocessing.skull_stripped=true"]), list[str]()
    watch = Watch(on_refused=lambda _, error: refused.append(error.code))
    model = Model.fit([BRAIN, HEAD], config, watch=watch, device="cpu")
    assert refused == ["not_skull_stripped"]
    with pytest.raises(InputError, match="looks like a whole head"):
        model.segment(HEAD)
    mask = MetaTensor(torch.from_numpy(INSIDE[None]).float(), affine=HEAD.affine)
    assert np.array_equal(model.segment(HEAD, mask).labels > 0, INSIDE)
    other = Model.fit([BRAIN, HEAD], load_config("smoke", few), watch=watch, device="cpu")
    assert len(other.fingerprints) == 2
    assert other.segment(HEAD).labels.any()


REAL_HEADS = (
    "brain_t1_brainweb/brainweb_T1w.nii.gz",
    "dicom/study/34907-T1prereg-43695",
    "dicom/study/35623-FLAIRreg-79237",
)
REAL_BRAINS = (
    "brain_t1_ibsr18/IBSR_07_T1w.nii.gz",
    "brain_glioma/images/pat0003_T1c.nii.gz",
    "brain_ms/images/patient07_T2.nii.gz",
)


@pytest.mark.parametrize("path", REAL_HEADS)
def test_real_heads(path):
    image = read_scan(shared(f"data/{path}"))
    assert signs_of(image).volume_ml > 4000
    child = scaled(image, 0.75)
    assert signs_of(child).volume_ml < MOST_BRAIN_ML
    assert signs_of(child).skull_share > MOST_VALLEYS


@pytest.mark.parametrize("path", REAL_BRAINS)
def test_real_brains(path):
    assert signs_of(read_scan(shared(f"data/{path}"))).skull_share < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["brain_t1_ibsr18", "brain_glioma/images", "brain_ms/images"])
def test_all_real_brains(folder):
    for path in sorted(shared(f"data/{folder}").glob("*.nii.gz")):
        if "truth" not in path.name:
            assert not signs_of(read_scan(path)).is_head, path.name
