"""A skull-stripped brain is all foreground, whatever constant lies around it and whatever its intensities became."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model
from medseg.preprocessing.foreground import find_foreground
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid

SHAPE = (44, 52, 40)
X, Y, Z = np.indices(SHAPE)
DISTANCE = np.sqrt(((X - 21.5) / 18) ** 2 + ((Y - 25.5) / 22) ** 2 + ((Z - 19.5) / 16) ** 2)
BRAIN = DISTANCE < 1
TISSUE = np.select([DISTANCE < 0.2, DISTANCE < 0.7, DISTANCE < 0.93], [60.0, 220.0, 150.0], 60.0)
T1 = TISSUE + np.random.default_rng(0).normal(0, 6, SHAPE)
Z_SCORES = (T1 - T1[BRAIN].mean()) / T1[BRAIN].std()


def image_of(values: npt.NDArray[np.float64], background: float) -> MetaTensor:
    voxels = np.where(BRAIN, values, background).astype(np.float32)
    affine = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(voxels[None]), affine=affine)


@pytest.mark.parametrize(("values", "background"), [
    (T1, 0.0), (Z_SCORES, 0.0), (Z_SCORES, -10.0), (np.round(100 * Z_SCORES), 0.0), (T1, 1000.0), (T1, -1.0),
    (-T1, 0.0), (T1 - 5000, -9999.0), (T1 - 5000, 0.0), (np.clip(Z_SCORES, -1, 1), 0.0),
])  # fmt: skip
def test_the_brain_is_the_foreground(values, background):
    found = find_foreground(image_of(values, background)).as_tensor()[0].numpy() > 0
    assert np.count_nonzero(found != BRAIN) < 0.002 * BRAIN.sum()


def test_even_noise_is_no_background():
    """Air whose commonest value is 1, with 0 below it: not all that there is at the border."""
    air = np.random.default_rng(1).choice([0.0, 1.0, 2.0], SHAPE, p=[0.2, 0.6, 0.2])
    even = image_of(T1, 0.0)
    noisy = MetaTensor(torch.from_numpy(np.where(BRAIN, T1, air)[None].astype(np.float32)), affine=even.affine)
    inside = find_foreground(noisy).as_tensor()[0].numpy() > 0
    assert np.count_nonzero(inside != BRAIN) < 0.15 * BRAIN.sum()


@pytest.mark.parametrize("kind", ["z-scored", "z-scored, -10 around", "all negative", "brighter around"])
def test_labels_are_those_of_the_plain_brain(model: Model, kind: str) -> None:
    scan, truth = phantom(small_grid(), noise=8.0, seed=5)
    inside = torch.as_tensor(np.asarray(truth) > 0)[None]
    values = scan.as_tensor()
    scores = (values - values[inside].mean()) / values[inside].std()
    changed, around = {
        "z-scored": (scores, 0.0), "z-scored, -10 around": (scores, -10.0),
        "all negative": (values - 5000, -9999.0), "brighter around": (values, 1000.0),
    }[kind]  # fmt: skip
    found = [
        np.asarray(model.segment(MetaTensor(torch.where(inside, x, torch.tensor(y)), affine=scan.affine)).labels)
        for x, y in ((values, 0.0), (changed, around))
    ]
    brain = inside[0].numpy()
    assert (found[0][brain] > 0).mean() > 0.999
    assert (found[0] == found[1])[brain].mean() > 0.99
    assert not found[1][~brain].any()
