"""Lengths of settings are those of people; a mouse of the same number of voxels is labelled like a person."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import find_foreground
from medseg.preprocessing.plan import Plan
from medseg.spatial.geometry import Geometry, in_person_mm, person_unit_mm

SHAPE = (72, 84, 68)
X, Y, Z = np.indices(SHAPE)
DISTANCE = np.sqrt(((X - 35.5) / 28) ** 2 + ((Y - 41.5) / 33) ** 2 + ((Z - 33.5) / 26) ** 2)
TRUTH = np.select([DISTANCE >= 1, DISTANCE < 0.25, DISTANCE < 0.72, DISTANCE < 0.93], [0, 1, 3, 2], 1)
T1 = np.choose(TRUTH, [0.0, 60.0, 150.0, 220.0])


def brain(spacing_mm: float, noise: float = 10.0, air: float = 0.0) -> MetaTensor:
    """(1, I, J, K) with noise in the brain, and in the air around it."""
    random = np.random.default_rng(0)
    values = T1 + np.where(TRUTH > 0, noise, air) * np.abs(random.normal(0, 1, SHAPE))
    affine = torch.diag(torch.tensor([*[spacing_mm] * 3, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(values[None].astype(np.float32)), affine=affine)


def every_second(image: MetaTensor) -> MetaTensor:
    """Every second voxel along each axis."""
    affine = torch.from_numpy(Geometry.of(image).every(2).affine.copy())
    return MetaTensor(image.as_tensor()[:, ::2, ::2, ::2].contiguous(), affine=affine)


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize("spacing_mm", [2.0, 0.2, 0.1, 0.03])
def test_the_foreground_of_a_small_animal(spacing_mm):
    found = find_foreground(brain(spacing_mm, air=8.0)).as_tensor()[0].numpy() > 0
    assert dice(found, TRUTH > 0) > 0.93


@pytest.mark.parametrize("modality", ["mouse", "part"])
def test_ct_of_a_small_animal_lies_in_air(modality):
    """A body of water around bones, in air, with a bed below it that is not the body."""
    hu = np.where(DISTANCE < 1, 40.0, -1000.0)
    hu[DISTANCE < 0.15] = 700
    hu[2:-2, 2:-2, 3:5] = np.where(DISTANCE[2:-2, 2:-2, 3:5] < 1, 40.0, -300.0)
    spacing = 0.3 if modality == "mouse" else 4.0
    values = hu + np.random.default_rng(0).normal(0, 15, SHAPE)
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    found = find_foreground(MetaTensor(torch.from_numpy(values[None].astype(np.float32)), affine=affine))
    assert dice(found.as_tensor()[0].numpy() > 0, DISTANCE < 1) > 0.95


@pytest.mark.parametrize(("spacing_mm", "planned_mm"), [(0.1, 0.1), (0.2, 0.2), (0.4, 0.5), (0.8, 0.8)])
def test_the_working_grid_of_a_small_animal_is_its_own(spacing_mm, planned_mm):
    image = brain(spacing_mm)
    if spacing_mm == 0.4:  # a person in fine voxels
        image = MetaTensor(torch.zeros(1, 300, 300, 300), affine=image.affine)
    prints = ScanFingerprint(shape=image.shape[1:], spacing_mm=Geometry.of(image).spacing_mm, modality="MR",
                             percentiles=(0, 1, 2, 3, 4), foreground_share=0.5)  # fmt: skip
    assert Plan.fit([prints], load_config("generic")).spacing_mm == pytest.approx((planned_mm,) * 3)


def test_what_stands_for_a_millimetre():
    assert in_person_mm((0.5, 0.5, 0.5)) == (0.5, 0.5, 0.5)
    assert in_person_mm((0.4, 0.4, 3.0)) == (0.4, 0.4, 3.0)
    assert in_person_mm((0.1, 0.1, 0.1)) == pytest.approx((0.5, 0.5, 0.5))
    assert in_person_mm((0.05, 0.1, 0.2)) == pytest.approx((0.25, 0.5, 1.0))
    assert person_unit_mm((256, 256, 256), (0.1, 0.1, 0.1)) == pytest.approx(0.256)
    assert person_unit_mm((40, 40, 40), (1.0, 1.0, 1.0)) == 1  # a crop of a person
    assert person_unit_mm((512, 512, 400), (0.3, 0.3, 0.3)) == 1


@pytest.mark.parametrize("config", ["brain_t1", "generic"])
def test_a_mouse_is_labelled_like_a_person(config):
    changes = ["training.max_steps=4", "clustering.n_clusters=3", "cleanup.min_volume_mm3=20"]
    labels = []
    for spacing_mm in (0.5, 0.05):
        image = every_second(brain(spacing_mm / 2))
        model = Model.fit([image], load_config(config, changes), device="cpu")
        labels.append(model.segment(image).labels)
    person, mouse = labels
    for label in (1, 2, 3):
        assert dice(mouse == label, person == label) > 0.98
    if config == "brain_t1":
        truth = TRUTH[::2, ::2, ::2]
        assert min(dice(mouse == label, label == truth) for label in (2, 3)) > 0.85  # the cortex is two voxels
