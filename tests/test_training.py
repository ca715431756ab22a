from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import GRIDS
from monai.data.meta_tensor import MetaTensor

from medseg.autoencoder import Autoencoder, embed, load_weights, save_weights
from medseg.config import AutoencoderConfig, TrainingConfig
from medseg.patches import PatchSampler
from medseg.preprocessing import Plan, Prepared
from medseg.training import train
from sample_data.phantom import phantom

SMALL = AutoencoderConfig(channels=4, levels=2)
PLAN = Plan(
    modality="MR", spacing_mm=(2.0, 2.0, 2.0), window_hu=None, percentiles=(0.5, 99.5),
    foreground="auto", patch_size=16, batch_size=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared():
    image, labels = phantom(GRIDS["RAS"], noise=8.0)
    scaled = MetaTensor(image.as_tensor() / 220, affine=image.affine)
    return [Prepared(scaled, MetaTensor(torch.from_numpy(labels > 0).float()[None], affine=image.affine))]


def squared_error(network, patches, inside, generator):
    """A loss of its own kind: the mean logit must equal the intensity."""
    noisy = patches + 0.01 * torch.randn(patches.shape, generator=generator)
    return (((network(noisy).mean(1, keepdim=True) - patches) ** 2) * inside).mean()


def fresh():
    torch.manual_seed(0)
    return Autoencoder(SMALL, 3)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_result_does_not_depend_on_the_tiles(levels):
    torch.manual_seed(1)
    network = Autoencoder(AutoencoderConfig(channels=4, levels=levels), 3).eval()
    image = MetaTensor(torch.rand(1, 61, 50, 43), affine=torch.eye(4))
    whole = embed(network, image, tile=1000).as_tensor()
    for tile in (16, 24):
        assert (embed(network, image, tile=tile).as_tensor() - whole).abs().max() < 1e-4
    assert whole.shape == (3, 61, 50, 43)


def test_the_halo_covers_the_receptive_field():
    network = Autoencoder(AutoencoderConfig(channels=4, levels=3), 2).double()
    x = torch.rand(1, 1, 96, 32, 32, dtype=torch.double, requires_grad=True)
    network(x)[0, :, 47, 15, 15].sum().backward()
    reached = torch.nonzero(x.grad.abs().amax(dim=(0, 1, 3, 4)) > 0).flatten()
    assert int(reached.min()) >= 47 - network.halo
    assert int(reached.max()) <= 47 + network.halo


def test_weights_survive_the_disk(tmp_path):
    first, second = fresh(), Autoencoder(SMALL, 3)
    save_weights(first, tmp_path / "w.safetensors")
    load_weights(second, tmp_path / "w.safetensors")
    x = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(first(x), second(x))


def test_training_lowers_the_loss(prepared):
    losses = []
    config = TrainingConfig(max_steps=40, check_steps=10)
    record = train(fresh(), prepared, squared_error, plan=PLAN, config=config, on_step=lambda *a: losses.append(a[2]))
    assert len(losses) == record.n_steps == 40
    assert len(record.losses) == 4
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])
    assert not record.ended_early


def test_an_interrupted_run_ends_with_the_same_weights(prepared, tmp_path):
    config = TrainingConfig(max_steps=70, check_steps=10, patience_checks=50)
    undisturbed = fresh()
    train(undisturbed, prepared, squared_error, plan=PLAN, config=config)

    def stop(done, _most, _loss):
        if done == 57:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(), prepared, squared_error, plan=PLAN, config=config, checkpoint=tmp_path / "c", on_step=stop)
    resumed, steps = fresh(), []
    record = train(
        resumed, prepared, squared_error, plan=PLAN, config=config, checkpoint=tmp_path / "c",
        on_step=lambda *a: steps.append(a[0]),
    )  # fmt: skip
    assert steps[0] == 51
    assert len(record.losses) == 7
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_training_ends_early_when_nothing_improves(prepared):
    config = TrainingConfig(max_steps=400, check_steps=5, patience_checks=2)

    def constant(network, patches, _inside, _generator):
        return 0.0 * network(patches).sum() + 1.0

    record = train(fresh(), prepared, constant, plan=PLAN, config=config)
    assert record.ended_early
    assert record.n_steps == 15


def test_patches_are_centred_in_the_foreground_and_repeat(prepared):
    sampler = PatchSampler(prepared, PLAN, seed=3)
    first, inside = sampler.draw(11)
    again, _ = PatchSampler(prepared, PLAN, seed=3).draw(11)
    other, _ = sampler.draw(12)
    assert first.shape == (2, 1, 16, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    shares = [float(sampler.draw(step)[1].mean()) for step in range(20)]
    volume_share = float(prepared[0].foreground.as_tensor().mean())
    assert np.mean(shares) > 1.5 * volume_share
    assert inside.unique().tolist() in ([0.0, 1.0], [1.0])


def test_a_scan_smaller_than_a_patch_is_padded():
    tiny = Prepared(
        MetaTensor(torch.rand(1, 5, 30, 9), affine=torch.eye(4)),
        MetaTensor(torch.ones(1, 5, 30, 9), affine=torch.eye(4)),
    )
    patches, inside = PatchSampler([tiny], PLAN, seed=0).draw(0)
    assert patches.shape == (2, 1, 16, 16, 16)
    assert 0 < float(inside.mean()) < 1
