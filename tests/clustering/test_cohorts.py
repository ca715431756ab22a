"""Labels of whole cohorts: CT by tissues and regions, MR by a tree of surroundings; saved, cut, used on a new scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import InputError, Model, load_config
from medseg.clustering.ct_cohort import CtCohort
from medseg.clustering.mr_cohort import MrCohort, joins_by_context
from sample_data.two_channels import centred_grid, two_channels
from tests.support.trunks import ct

QUICK = ("training.max_steps=8", "training.patch_size=24", "autoencoder.channels=4", "autoencoder.context_steps=4")


@pytest.fixture(scope="module")
def ct_model() -> Model:
    config = load_config("body_ct", [*QUICK, "clustering.n_clusters=6"])
    return Model.fit([ct(seed)[0] for seed in range(2)], config, device="cpu")


def shares_of(labels: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.asarray(np.bincount(labels[where], minlength=33) / where.sum())


def test_ct_tissues_get_the_same_label_in_a_new_scan(ct_model):
    assert isinstance(ct_model.clusters, CtCohort)
    scans = [ct(seed) for seed in (0, 1, 5)]
    found = [(ct_model.segment(image).labels.astype(int), truth) for image, truth in scans]
    for tissue in (1, 2, 5):
        shares = [shares_of(labels, truth == tissue) for labels, truth in found]
        assert len({int(s.argmax()) for s in shares}) == 1
        assert min(s.max() for s in shares) > 0.85
    labels = [{int(shares_of(x, t == tissue).argmax()) for x, t in found} for tissue in (1, 2, 3, 5)]
    assert len(set.union(*labels)) == 4


def test_cuts_of_ct_labels_are_nested_and_survive_saving(ct_model, tmp_path):
    image, _ = ct(2)
    ct_model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model", device="cpu")
    plain = again.segment(image, outputs={"finest", "confidence"})
    assert np.array_equal(plain.labels, ct_model.segment(image).labels)
    tree = again.scheme.hierarchy
    assert np.array_equal(np.r_[0, tree.owners][plain.finest], plain.labels)
    for cut in (2, 4, 9):
        found = again.cut_to(cut).segment(image)
        assert np.array_equal(found.labels, tree.numbers(cut)[plain.finest])
    assert plain.confidence is not None
    assert plain.confidence[plain.labels > 0].mean() > 150


def test_ct_without_soft_tissue_is_refused():
    image, truth = ct(0)
    hu = torch.where(torch.from_numpy(truth[None] > 0), -850.0, -1000.0)
    noise = 5 * torch.randn(hu.shape, generator=torch.Generator().manual_seed(0))
    air = MetaTensor(hu + noise, affine=image.affine)
    config = load_config("body_ct", [*QUICK, "preprocessing.foreground=all"])
    with pytest.raises(InputError, match="found no soft tissue in any CT"):
        Model.fit([air], config, device="cpu")


def test_mr_labels_mean_the_same_under_another_scale(tmp_path):
    grid = centred_grid()
    images, truth = two_channels(grid, noise=5.0, seed=0)[:2]
    first = images[0]
    other = MetaTensor(first.as_tensor() * 3.7, affine=first.affine)
    config = load_config("generic", [*QUICK, "clustering.n_clusters=4"])
    model = Model.fit([first, other], config, device="cpu")
    assert isinstance(model.clusters, MrCohort)
    assert len(model.scheme.hierarchy) == 32
    one, two = (model.segment(image).labels for image in (first, other))
    assert (one == two).mean() > 0.99
    model.save(tmp_path / "model")
    assert np.array_equal(Model.load(tmp_path / "model", device="cpu").segment(first).labels, one)
    assert truth is not None


def test_components_in_like_surroundings_are_joined_first():
    contexts = np.array([[0.8, 0.1, 0.1], [0.79, 0.11, 0.1], [0.1, 0.1, 0.8]])
    intensities = np.zeros((3, 1))
    assert joins_by_context(contexts, np.ones(3) / 3, intensities)[0] == (0, 1)
    far = np.array([[0.0], [9.0], [0.1]])
    assert joins_by_context(contexts, np.ones(3) / 3, far)[0] != (0, 1)
