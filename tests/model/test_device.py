"""Fits and segmentations on a simulated device: the labels of the CPU, and a bounded number of copies and waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.clustering.posteriors import ClusterPosteriors
from medseg.labels.confidence import confidence_on
from medseg.model.cohort import Reading
from medseg.model.fit import fit_model
from medseg.model.segment import labels_on
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from sample_data.habitats import case
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid
from tests.support.simulated import DEVICE, used
from tests.support.traffic import TO_DEVICE, TO_HOST, WAIT
from tests.support.trunks import ct

STEPS, EVERY, STEPS_OF_HEADS = 6, 3, 3
FAST = [f"training.max_steps={STEPS}", f"training.eval_interval={EVERY}", "training.patch_size=24",
        "autoencoder.channels=4"]  # fmt: skip
CASES = {
    "generic": ["clustering.n_clusters=4"],
    "brain_t1": [],
    "body_ct": ["clustering.n_clusters=5", f"autoencoder.context_steps={STEPS_OF_HEADS}"],
    "habitats": ["clustering.n_clusters=3", "clustering.texture=1", f"autoencoder.texture_steps={STEPS_OF_HEADS}"],
    "generic, two networks": ["clustering.n_clusters=4", "training.ensemble=2"],
}
ALL_OF_A_SCAN = 26
"""Copies and waits of one segmentation with confidence, in one slab; none of them grows with the scan but by slabs."""


def scan_of(name):
    """A scan, and where it is worked on: None for all of the body."""
    if name == "body_ct":
        return ct(0)[0], None
    if name == "habitats":
        return case((50, 130, 210), 0)
    return phantom(small_grid(), noise=8.0, seed=1)[0], None


def fitted(name, device):
    scan, mask = scan_of(name)
    config = load_config(name.split(",")[0], [*FAST, *CASES[name]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.model.fit.memory_gb", lambda _device: 1.0)  # room for the scan
        reading = Reading(made=lambda _scan, _image: mask)
        return Model.of(fit_model([scan], config, device=str(device), reading=reading))


def agreement(a, b):
    """Share of the labelled voxels with the same label."""
    return float((a == b)[(a > 0) | (b > 0)].mean())


@pytest.fixture(scope="module", params=CASES)
def on_device(request):
    """Everything on the device: the name, the model, its labels, and what crossed during the fit and the labelling."""
    with used() as fit:
        model = fitted(request.param, DEVICE)
    scan, mask = scan_of(request.param)
    with used() as labelling:
        found = model.segment(scan, mask, outputs=["confidence"])
    return request.param, model, found, fit, labelling


def test_labels_are_those_of_the_same_model_on_the_cpu(on_device, tmp_path):
    """At most 2 of 10,000 labels differ, by rounding; a confidence by at most 2 of 255."""
    name, model, found, *_ = on_device
    assert model.device == DEVICE
    model.save(tmp_path / "model")
    scan, mask = scan_of(name)
    own = Model.load(tmp_path / "model", device="cpu").segment(scan, mask, outputs=["confidence"])
    assert len(np.unique(own.labels)) > 2
    assert agreement(found.labels, own.labels) >= 0.9998
    assert found.confidence is not None
    assert own.confidence is not None
    same = found.labels == own.labels
    assert np.abs(found.confidence[same].astype(int) - own.confidence[same]).max() <= 2


def test_a_fit_asks_the_device_at_checks_only(on_device):
    """Beside the weights, which are sent once: the scan once, numbers with the first step and at checks."""
    name, _, _, fit, _ = on_device
    n_networks = 2 if "two" in name else 1
    assert fit.count(TO_DEVICE, at="network/patches.py") == n_networks, fit.table()
    assert fit.count(WAIT, TO_HOST, at="network/checkpoint.py") <= n_networks * (STEPS // EVERY + 1), fit.table()
    assert fit.count(at="network/training.py") == 0, fit.table()
    heads = fit.count(at="network/context") + fit.count(at="network/texture")
    assert heads <= 14 * STEPS_OF_HEADS, fit.table()


def test_a_scan_crosses_in_a_bounded_number_of_copies(on_device):
    name, _, _, _, labelling = on_device
    assert labelling.count() <= ALL_OF_A_SCAN * (2 if "two" in name else 1), labelling.table()
    assert labelling.count(WAIT, at="network/tiled_inference.py") == 0, labelling.table()
    assert labelling.count(TO_HOST, at="model/segment.py") == 1, labelling.table()


def test_every_output_of_a_scan_is_made_there(on_device, monkeypatch):
    name, model, found, *_ = on_device
    scan, mask = scan_of(name)
    outputs = ["fractions", "finest", *(["disagreement"] if "two" in name else [])]
    with used():
        again = model.segment(scan, mask, outputs=outputs, min_confidence=0.5)
        total = sum(again.fractions[number].astype(int) for number in again.fractions)
    inside = found.labels > 0
    assert set(np.unique(total[inside])) == {255}
    assert again.finest is not None
    assert (again.finest > 0).any()


def test_a_fit_on_the_device_finds_the_labels_of_a_fit_on_the_cpu():
    """Training rounds differently there: 98 of 100 labels are the same after a fit of six steps."""
    with used():
        found = fitted("generic", DEVICE).segment(scan_of("generic")[0]).labels
    own = fitted("generic", "cpu").segment(scan_of("generic")[0]).labels
    assert agreement(found, own) >= 0.98


def posteriors(device, affine):
    scores = torch.softmax(3 * torch.randn(6, 20, 22, 24, generator=torch.Generator().manual_seed(0)), dim=0).half()
    return ClusterPosteriors(MetaTensor(scores, affine=affine), lambda: np.zeros((1, 1))).on(torch.device(device))


ROTATED = torch.tensor([[1.9, -0.6, 0, 0], [0.6, 1.9, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], dtype=torch.float64)


@pytest.mark.parametrize("affine", [torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64)), ROTATED])
def test_labels_and_confidence_leave_the_device_once_a_slab(affine, monkeypatch):
    """Nothing comes back for a label of its own; no copy is large but those of the labels themselves."""
    monkeypatch.setattr("medseg.model.segment.SLAB_VOXELS", 40 * 44 * 12)
    monkeypatch.setattr("medseg.labels.confidence.SLAB_VALUES", 40 * 44 * 12 * 9)
    grid, n_slabs = Geometry((40, 44, 48), np.eye(4)), 4
    there, own = posteriors(DEVICE, affine), posteriors("cpu", affine)
    inside = np.ones(grid.shape, dtype=bool)
    groups: dict[int, tuple[int, ...]] = {n: (n,) for n in range(1, 7)}
    with used() as traffic:
        labels = labels_on(grid, there.scores, inside)
        assert traffic.count(TO_HOST) == n_slabs, traffic.table()
        sure = confidence_on(grid, there, labels, groups)
    assert traffic.count(TO_HOST) == 2 * n_slabs, traffic.table()
    assert traffic.count(WAIT) == 0, traffic.table()
    assert traffic.count(TO_DEVICE, least_bytes=40 * 44 * 12) == n_slabs, traffic.table()  # the labels
    assert agreement(labels, labels_on(grid, own.scores, inside)) > 0.9999
    assert np.abs(sure.astype(int) - confidence_on(grid, own, labels, groups)).max() <= 1


def test_the_matrices_of_a_grid_are_sent_once():
    """At most one for each axis, and the device is never asked; along j the voxels are taken as they are."""
    image = MetaTensor(torch.rand(1, 20, 22, 24), affine=torch.diag(torch.tensor([2.5, 2, 2, 1], dtype=torch.float64)))
    there, grid = (
        MetaTensor(image.as_tensor().to(DEVICE), affine=image.affine),
        Geometry((41, 11, 45), np.diag([1, 4, 1, 1])),
    )
    with used() as traffic:
        first = resample(there, grid)
        assert traffic.count() == traffic.count(TO_DEVICE) <= 3, traffic.table()
        traffic.events.clear()
        resample(there, grid)
    assert traffic.events == [], traffic.table()
    assert torch.allclose(first.as_tensor().cpu(), resample(image, grid).as_tensor(), atol=1e-6)
