"""Own array transforms before medseg's: applied alike in fitting and segmenting, remembered by name, checked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import GaussianSmooth, MedianSmooth, ScaleIntensity
from monai.transforms.spatial.array import Rotate90

from medseg import ConfigError, InputError, Model, load_config, network_input
from medseg.cli.main import main
from medseg.model.segment import anomaly_of
from medseg.preprocessing.pre_transforms import PreTransforms
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.scans import write_nifti

CONFIG = load_config("smoke", ["training.max_steps=5"])
SMOOTH = GaussianSmooth(sigma=1.0)


def scan(seed=0):
    return phantom(small_grid(28), noise=20.0, seed=seed)[0]


def smoothed(image):
    return MetaTensor(SMOOTH(image).as_tensor(), affine=image.affine)


@pytest.fixture(scope="module")
def hooked():
    return Model.fit([scan(0), scan(1)], CONFIG, pre_transforms=[SMOOTH], device="cpu")


@pytest.fixture(scope="module")
def folder(hooked, tmp_path_factory):
    path = tmp_path_factory.mktemp("hooked") / "model"
    hooked.save(path)
    return path


def test_the_same_as_transforming_every_scan_by_hand(hooked):
    """Fit and segment see what they would see of scans that were smoothed before; the given image stays as it is."""
    by_hand = Model.fit([smoothed(scan(0)), smoothed(scan(1))], CONFIG, device="cpu")
    assert hooked.fingerprints == by_hand.fingerprints
    assert torch.equal(hooked.network.first.weight, by_hand.network.first.weight)
    image = scan(2)
    before = image.as_tensor().clone()
    labels = hooked.segment(image).labels
    assert np.array_equal(labels, by_hand.segment(smoothed(image)).labels)
    assert not np.array_equal(labels, by_hand.segment(image).labels)
    assert torch.equal(image.as_tensor(), before)
    assert torch.equal(anomaly_of(hooked, image).as_tensor(), anomaly_of(by_hand, smoothed(image)).as_tensor())
    assert torch.equal(network_input(hooked, image).as_tensor(), network_input(by_hand, smoothed(image)).as_tensor())
    assert hooked.fingerprint != by_hand.fingerprint


def test_a_loaded_model_asks_for_them(hooked, folder):
    assert json.loads((folder / "model.json").read_text())["pre_transforms"] == ["GaussianSmooth"]
    loaded = Model.load(folder, device="cpu")
    for use in (loaded.segment, lambda image: anomaly_of(loaded, image), lambda image: network_input(loaded, image)):
        with pytest.raises(
            ConfigError, match=r"expected GaussianSmooth, found none; load it.*pre_transforms=\[\.\.\.\]"
        ):
            use(scan(2))
    whole = Model.load(folder, device="cpu", pre_transforms=[GaussianSmooth(sigma=1.0)])
    assert np.array_equal(whole.segment(scan(2)).labels, hooked.segment(scan(2)).labels)
    assert whole.fingerprint == loaded.fingerprint == hooked.fingerprint


def test_others_than_it_was_fitted_with_are_refused(folder, model_folder):
    with pytest.raises(ConfigError, match="found MedianSmooth, expected GaussianSmooth"):
        Model.load(folder, pre_transforms=[MedianSmooth()])
    with pytest.raises(ConfigError, match="found GaussianSmooth, GaussianSmooth, expected GaussianSmooth"):
        Model.load(folder, pre_transforms=[SMOOTH, SMOOTH])
    with pytest.raises(ConfigError, match="found GaussianSmooth, expected none"):
        Model.load(model_folder, pre_transforms=[SMOOTH])


@pytest.mark.parametrize("command", ["segment", "run"])
def test_the_command_refuses_before_any_work(command, folder, tmp_path, capsys):
    write_nifti(scan(), tmp_path / "scans" / "a.nii.gz")
    words = [command, str(tmp_path / "scans"), "--model", str(folder), "--out", str(tmp_path / "out")]
    if command == "run":
        words += ["--config", "smoke", "--set", "training.max_steps=5"]
    assert main(words) == 2
    assert "expected GaussianSmooth, found none" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*_seg.nii.gz"))


def test_labels_can_still_be_named(folder):
    assert main(["label", str(folder), "--name", "1=fluid"]) == 0
    assert Model.load(folder, device="cpu").own.names == ("GaussianSmooth",)


def test_arrays_and_functions_will_do():
    def halved(image):
        return np.asarray(image) / 2

    own = PreTransforms.of([halved, Compose([ScaleIntensity(0, 4)])])
    assert own.names == ("halved", "Compose")
    image = scan()
    found = own(image)
    assert found.dtype == torch.float32
    assert np.allclose(np.asarray(found.affine), np.asarray(image.affine))
    assert float(found.max()) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda image: image[:, 1:], r"<lambda>: found the shape \(1, 27, 28, 28\), expected \(1, 28, 28, 28\)"),
        (lambda image: torch.cat([image, image]), r"found the shape \(2, "),
        (lambda image: None, r"found the shape \(\), expected"),
        (Rotate90(), "Rotate90: found Geometry.*expected Geometry.*must keep the scan's grid"),
    ],
)
def test_a_transform_that_leaves_the_grid_is_refused(transform, said):
    with pytest.raises(ConfigError, match=said):
        Model.fit([scan()], CONFIG, pre_transforms=[transform], device="cpu")


def test_values_that_are_not_finite_cost_their_scan():
    def broken(image):
        return image / (image.max() - float(scan(0).max()))  # 0 for one scan

    from medseg.model.cohort import Reading, Watch
    from medseg.model.fit import fit_model

    refused = []
    watch = Watch(on_refused=lambda _scan, error: refused.append(error))
    own = PreTransforms.of([broken])
    model = Model.of(fit_model([scan(0), scan(1)], CONFIG, reading=Reading(own=own), watch=watch, device="cpu"))
    assert len(model.fingerprints) == 1
    assert [error.code for error in refused] == ["own_transform"]
    with pytest.raises(InputError, match="broken: found values that are not finite"):
        model.segment(scan(0))
