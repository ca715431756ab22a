"""Ensembles: labels matched to each other, consensus, disagreement, and nothing changed for a single network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.cli.main import main
from medseg.clustering.ensemble import Ensemble, EnsemblePosteriors, Member, disagreement_on
from medseg.clustering.posteriors import ClusterPosteriors, IntervalPosteriors, Posteriors
from medseg.config import Config
from medseg.errors import ConfigError, ModelError
from medseg.evaluation.overlap import adjusted_rand_index, confusion
from medseg.model.cohort import Watch
from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.histogram import Histogram
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from medseg.spatial.geometry import Geometry
from sample_data.two_channels import centred_grid, two_channels
from tests.support.cohorts import leftovers
from tests.support.model_folders import change_facts
from tests.support.scans import load_nifti, nifti_grid, write_nifti

GRID = centred_grid()
TINY = ["training.max_steps=12", "training.patch_size=24", "autoencoder.channels=4", "clustering.n_clusters=3",
        "clustering.mrf_weight=0", "clustering.intensity_sigma_mm=0",
        "training.ensemble=2"]  # fmt: skip


@pytest.fixture(scope="module")
def scans() -> list[MetaTensor]:
    """The channel in which two regions can be told apart only in part: members will disagree."""
    return [two_channels(GRID, noise=25.0, seed=seed, shift_mm=3.0 * seed)[0][1] for seed in range(2)]


@pytest.fixture(scope="module")
def model(scans) -> Model:
    return Model.fit(scans, load_config("generic", TINY), device="cpu")


@dataclass(frozen=True)
class Saying:
    """Clusters that say of a scan what `says` returns."""

    says: Callable[[Autoencoder, Prepared], Posteriors]
    tree: None = None

    def posteriors(self, network: Autoencoder, prepared: Prepared, store: Store | None = None) -> Posteriors:
        return self.says(network, prepared)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}


def turned(member: Member, order: tuple[int, ...]) -> tuple[Autoencoder, Saying]:
    """The network and clusters of a member whose labels go by other numbers."""

    def says(network: Autoencoder, prepared: Prepared) -> ClusterPosteriors:
        found = member.clusters.posteriors(network, prepared)
        assert isinstance(found, ClusterPosteriors)
        return replace(found, scores=MetaTensor(found.scores.as_tensor()[list(order)], affine=found.scores.affine))

    return member.network, Saying(says)


def prepared_of(model: Model, scan: MetaTensor):
    return model.prepare(scan, model.plan.foreground_of(scan))


def test_labels_of_the_members_are_matched(model, scans):
    first = model.clusters.members[0]
    parts = [(first.network, first.clusters), turned(first, (2, 0, 1))]
    prepared = [prepared_of(model, scan) for scan in scans]
    matched = Ensemble.fit(parts, prepared, 3, Store())
    assert matched.members[0].order == (0, 1, 2)
    assert matched.members[1].order == (1, 2, 0)
    known = matched.posteriors(first.network, prepared[0])
    alone = first.clusters.posteriors(first.network, prepared[0])
    assert torch.allclose(known.scores.as_tensor(), alone.scores.as_tensor(), atol=1e-3)
    assert float(known.disagreement.as_tensor().abs().max()) == 0  # the same labels under other numbers


def test_the_consensus_is_near_every_member_and_the_disagreement_is_theirs(model, scans):
    prepared = prepared_of(model, scans[0])
    known = model.clusters.posteriors(model.network, prepared)
    inside = prepared.foreground.as_tensor()[0] > 0
    best = known.scores.as_tensor().argmax(0)[inside].numpy()
    share = known.disagreement.as_tensor()[0][inside].numpy()
    votes = []
    for network, clusters, order in model.clusters.members:
        own = clusters.posteriors(network, prepared).scores.as_tensor()[list(order)].argmax(0)[inside].numpy()
        assert adjusted_rand_index(confusion(own, best, np.ones(own.shape, dtype=bool), 3, 3)) > 0.8
        votes.append(own != best)
    assert np.array_equal(share, np.mean(votes, axis=0, dtype=np.float32))
    assert 0 < share.mean() < 0.2
    assert share[(votes[0] | votes[1]) == 0].max() == 0


def test_disagreement_on_request_changes_no_label(model, scans):
    plain = model.segment(scans[0])
    result = model.segment(scans[0], outputs={"disagreement", "confidence", "fractions", "finest"})
    assert np.array_equal(plain.labels, result.labels)
    assert plain.disagreement is None
    found = result.disagreement
    assert found.dtype == np.uint8
    assert found[result.labels == 0].max() == 0
    assert 0 < found.max() <= 255
    assert (sum(result.fractions[n].astype(int) for n in result.fractions)[result.labels > 0] == 255).all()
    # Members are unsure where they differ.
    sure, unsure = result.confidence[(found == 0) & (result.labels > 0)], result.confidence[found > 100]
    assert sure.mean() > unsure.mean() + 40


def test_the_disagreement_lies_on_the_native_grid():
    coarse = centred_grid(6.0)
    share = torch.zeros(1, *coarse.shape)
    share[0, 6:12, 6:12, 6:12] = 0.5
    scores = MetaTensor(torch.zeros(2, *coarse.shape), affine=torch.tensor(coarse.affine))
    consensus = EnsemblePosteriors(
        ClusterPosteriors(scores, lambda: np.zeros((1, 1))), MetaTensor(share, affine=scores.affine)
    )
    labels = np.ones(GRID.shape, dtype=np.uint8)
    labels[:, :, :10] = 0
    found = disagreement_on(GRID, consensus, labels)
    assert found.max() == 128
    assert found[15, 15, 15] == 128
    assert found[:, :, :10].max() == 0
    assert found[1, 1, 30] == 0


def test_a_saved_ensemble_is_the_same(model, scans, tmp_path):
    model.save(tmp_path / "model")
    known = Model.load(tmp_path / "model", device="cpu")
    assert known.fingerprint == model.fingerprint
    assert "an ensemble of 2 networks" in known.describe()
    first, second = (x.segment(scans[1], outputs={"disagreement"}) for x in (model, known))
    assert np.array_equal(first.labels, second.labels)
    assert first.disagreement is not None
    assert second.disagreement is not None
    assert np.array_equal(first.disagreement, second.disagreement)
    change_facts(tmp_path / "model", lambda facts: facts["config"]["training"].update(ensemble=3))
    with pytest.raises(ModelError, match=r"the weights belong to another model\.json"):
        Model.load(tmp_path / "model", device="cpu")


def test_the_first_member_is_the_model_without_an_ensemble(model, scans):
    single = Model.fit(scans, load_config("generic", [*TINY[:-1]]), device="cpu")
    with pytest.raises(ConfigError, match=r"one network.*training\.ensemble=3"):
        single.segment(scans[0], outputs={"disagreement"})
    for name, weight in single.network.state_dict().items():
        assert torch.equal(weight, model.network.state_dict()[name])
    other = model.clusters.members[1].network
    assert not torch.equal(single.network.first.weight, other.first.weight)


def test_the_mean_of_intervals_spreads_as_its_members_do():
    def everywhere(value: float) -> MetaTensor:
        return MetaTensor(torch.full((1, 2, 2, 2), value), affine=torch.eye(4))

    def member(u: float, sd: float, top: float) -> Member:
        histogram = Histogram(np.ones(1), np.ones(1))
        part = IntervalPosteriors(everywhere(u), everywhere(sd), everywhere(1.0), np.array([0.0, top]), histogram)
        return Member(network, Saying(lambda _network, _prepared: part), (0, 1))

    network = Autoencoder(load_config("smoke").autoencoder, 4)
    ensemble = Ensemble((member(0.2, 0.3, 1.0), member(0.6, 0.1, 2.0)))
    mean = ensemble.posteriors(network, Prepared(everywhere(0.0), everywhere(1.0), everywhere(0.0))).mean
    assert isinstance(mean, IntervalPosteriors)
    assert mean.intensity.as_tensor().unique().item() == pytest.approx(0.4)
    assert mean.sd.as_tensor().unique().item() == pytest.approx((0.05 + 0.04) ** 0.5)  # within and between
    assert mean.means.tolist() == [0, 1.5]


@pytest.mark.slow
def test_tissues_of_a_scan_agree_on_intervals(scans):
    config = load_config("smoke", ["training.max_steps=6", "clustering.bias_sigma_mm=null", "training.ensemble=2"])
    model = Model.fit(scans[:1], config, device="cpu")
    disagreement = model.segment(scans[0], outputs={"disagreement", "confidence"}).disagreement
    ensemble = model.clusters
    assert isinstance(ensemble, Ensemble)
    assert [member.order for member in ensemble.members] == [(0, 1, 2)] * 2
    prepared = prepared_of(model, scans[0])
    known = [member.clusters.posteriors(member.network, prepared) for member in ensemble.members]
    parts = [part for part in known if isinstance(part, IntervalPosteriors)]
    mean = ensemble.posteriors(model.network, prepared).mean
    assert isinstance(mean, IntervalPosteriors)
    u = [part.intensity.as_tensor() for part in parts]
    assert torch.allclose(mean.intensity.as_tensor(), (u[0] + u[1]) / 2, atol=1e-6)
    assert np.allclose(mean.means, (parts[0].means + parts[1].means) / 2)
    within = (parts[0].sd.as_tensor() ** 2 + parts[1].sd.as_tensor() ** 2) / 2
    expected = (within + (u[0] - u[1]) ** 2 / 4).sqrt()
    assert torch.allclose(mean.sd.as_tensor(), expected, atol=1e-3)
    assert disagreement is not None
    assert disagreement.max() in (0, 128, 255)


def test_a_killed_fit_goes_on_where_it_was(model, scans, tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.network.training.CHECKPOINT_STEPS", 4)
    config = load_config("generic", TINY)
    n_steps = 0

    class Killed(Exception):  # noqa: N818
        pass

    def kill(_done: int, _most: int, _loss: float) -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 18:  # in the middle of the second member
            raise Killed

    with pytest.raises(Killed):
        Model.fit(scans, config, device="cpu", checkpoint=tmp_path, watch=Watch(on_step=kill))
    n_steps = 100
    again = Model.fit(scans, config, device="cpu", checkpoint=tmp_path, watch=Watch(on_step=kill))
    assert n_steps == 100 + 8  # nothing of the first member, and of the second what followed its last checkpoint
    assert again.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.ensemble=0", r"training\.ensemble: .*greater than or equal to 1"),
        ("training.ensemble=-2", r"training\.ensemble: .*greater than or equal to 1"),
        ("training.ensemble=two", r"training\.ensemble: .*integer"),
    ],
)
def test_wrong_sizes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        load_config("generic", [change])


def test_habitats_are_those_of_one_network():
    with pytest.raises(ConfigError, match=r"stability of habitats.*ensemble must be 1"):
        load_config("habitats", ["training.ensemble=2"])


def test_the_command_writes_the_disagreement(model, scans, tmp_path: Path, capsys):
    model.save(tmp_path / "model")
    write_nifti(scans[0], tmp_path / "scans" / "a.nii.gz")
    arguments = ["segment", str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--workers", "0",
                 "--write", "nifti,disagreement", "--model"]  # fmt: skip
    assert main([*arguments, str(tmp_path / "model")]) == 0
    written = load_nifti(tmp_path / "out" / "a_disagreement.nii.gz")
    expected = model.segment(scans[0], outputs={"disagreement"}).disagreement
    assert written.get_data_dtype() == np.uint8
    assert np.allclose(written.get_fdata(), expected / 255, atol=1e-6)
    assert Geometry.of(scans[0]).is_close(nifti_grid(written))
    assert not leftovers(tmp_path)
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    facts["config"]["training"]["ensemble"] = 1
    replace(model, clusters=model.clusters.members[0].clusters, config=Config.model_validate(facts["config"])).save(
        tmp_path / "one"
    )
    assert main([*arguments, str(tmp_path / "one")]) == 2
    assert "one network" in capsys.readouterr().err
