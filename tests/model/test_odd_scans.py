"""One odd scan among sound ones costs itself, with a sentence, in training and afterwards."""

from __future__ import annotations

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.errors import InputError
from medseg.model.cohort import Watch
from sample_data.faults import person

VOXELS = person(1).as_tensor()


def scan(voxels: torch.Tensor, *spacing_mm: float) -> MetaTensor:
    return MetaTensor(voxels.clone(), affine=torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64)))


ODD = {
    "huge voxels": (
        scan(VOXELS, 1e5, 1e5, 1e5),
        "too_large",
        r"3,200,000 x .* mm large, expected at most 2,000,000,000",
    ),
    "needle voxels": (scan(VOXELS, 0.01, 0.01, 1000), "too_small", r"the body is 0\.32 x 0\.38 x 30,000 mm large"),
    "tiny voxels": (scan(VOXELS, 0.01, 0.01, 0.01), "too_small", "expected voxels of 4 x 4 x 4 mm, 1.5 or more along"),
    "one voxel": (scan(torch.ones(1, 1, 1, 1), 1, 1, 1), "too_small", "the scan has 1 x 1 x 1 voxels, expected two"),
    "one slice": (scan(VOXELS[:, 20:21], 4, 4, 4), "too_small", "the scan has 1 x 43 x 37 voxels"),
    "a few voxels": (scan(VOXELS[:, 20:23, 20:23, 20:23], 4, 4, 4), "too_small", "64 together"),
    "not numbers": (scan(torch.full_like(VOXELS, torch.nan), 4, 4, 4), "not_finite", "expected numbers"),
    "one value": (scan(torch.full_like(VOXELS, 7.0), 4, 4, 4), "constant", "expected an image"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("config", ["smoke", "generic"])
def test_it_costs_that_scan(name, config):
    odd, code, words = ODD[name]
    refused = list[tuple[object, InputError]]()
    watch = Watch(on_refused=lambda source, error: refused.append((source, error)))
    few = ["training.max_steps=1", "autoencoder.channels=4", "clustering.n_clusters=3", "training.patch_size=16"]
    model = Model.fit([person(2), odd, person(3)], load_config(config, few), watch=watch, device="cpu")
    assert len(model.fingerprints) == 2
    ((source, error),) = refused
    assert source is odd
    assert error.code == code
    with pytest.raises(InputError, match=words) as again:
        model.segment(odd)
    assert again.value.code == code


def test_odd_scans_alone_make_no_model():
    with pytest.raises(InputError, match="none of the scans can be used for training"):
        Model.fit([ODD["tiny voxels"][0], ODD["one slice"][0]], load_config("smoke"), device="cpu")
