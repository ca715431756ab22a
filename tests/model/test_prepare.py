"""What a model works on: the image as the network sees it is made once, and kept once where it is the same."""

from __future__ import annotations

import pytest
import torch

from medseg import Model, load_config
from medseg.model.cohort import kept
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from sample_data.faults import person

CONFIGS = {
    "per_scan": load_config("smoke", ["training.max_steps=2"]),
    "cohort": load_config("generic", ["training.max_steps=2", "training.patch_size=24", "autoencoder.channels=4"]),
}


@pytest.fixture(scope="module", params=CONFIGS)
def prepared(request) -> tuple[str, Prepared]:
    image = person(0)
    model = Model.fit([image], CONFIGS[request.param], device="cpu")
    return request.param, model.prepare(image, model.plan.foreground_of(image))


def test_the_network_sees_contrast_units_or_the_image_itself(prepared):
    method, item = prepared
    if method == "cohort":
        assert item.network_image is item.image
        return
    inside = item.foreground.as_tensor() > 0
    assert item.network_image.shape == item.image.shape
    assert torch.equal(item.network_image.affine, item.image.affine)
    assert float(item.image.as_tensor().min()) >= 0
    assert float(item.image.as_tensor().max()) <= 1
    assert float(item.network_image.as_tensor()[inside].min()) < -0.5  # below the second brightest tissue
    assert float(item.network_image.as_tensor()[~inside].abs().max()) == 0


def test_each_tensor_is_kept_once(prepared):
    method, item = prepared
    store = Store()
    found = kept(item, store)
    n_tensors = 2 if method == "cohort" else 3
    assert store.n_bytes == n_tensors * item.image.as_tensor().nbytes
    assert (found.network_image is found.image) == (method == "cohort")
    assert all(torch.equal(a.as_tensor(), b.as_tensor()) for a, b in zip(found, item, strict=True))
