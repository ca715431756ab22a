"""One odd scan among sound ones costs itself, with a sentence, in training and afterwards."""

from __future__ import annotations

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.errors import InputError
from medseg.model.cohort import Reading, Source, Watch
from medseg.model.fit import fit_model
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
    with pytest.raises(InputError, match=r"can be used for training: too_small \(2\); `medseg inspect` says"):
        Model.fit([ODD["one voxel"][0], ODD["one slice"][0]], load_config("smoke"), device="cpu")


class Memory(Reading):
    """Reading that finds no memory for one of the scans, from its second reading on when `late`."""

    def __init__(self, hog: Source, *, late: bool) -> None:
        super().__init__()
        object.__setattr__(self, "hog", hog)
        object.__setattr__(self, "left", [int(late)])

    def __call__(self, scan: Source) -> tuple[MetaTensor, MetaTensor | None]:
        if scan is vars(self)["hog"]:
            if not vars(self)["left"][0]:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5971968 bytes")
            vars(self)["left"][0] -= 1
        return super().__call__(scan)


@pytest.mark.parametrize("late", [False, True])
def test_a_scan_too_large_for_the_memory_costs_itself(late):
    hog, refused = person(4), list[tuple[object, InputError]]()
    watch = Watch(on_refused=lambda source, error: refused.append((source, error)))
    config = load_config("smoke", ["training.max_steps=1", "training.patch_size=16"])
    scans = [person(2), hog, person(3)]
    model = fit_model(scans, config, reading=Memory(hog, late=late), watch=watch, device="cpu")
    assert len(model.fingerprints) == 2
    ((source, error),) = refused
    assert source is hog
    assert error.code == "out_of_memory"
    assert "not enough memory to read it" in str(error)


def test_a_bug_in_reading_is_no_refusal():
    class Broken(Reading):
        def __call__(self, scan: Source) -> tuple[MetaTensor, MetaTensor | None]:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fit_model([person(2)], load_config("smoke"), reading=Broken(), device="cpu")
