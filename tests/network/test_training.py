from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.config import AutoencoderConfig, TrainingConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.checkpoint import TrainingState
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler, seed_of
from medseg.network.training import train
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from sample_data.phantom import phantom
from tests.support.scans import GRIDS

SMALL = AutoencoderConfig(channels=4, n_components=3)
PLAN = Plan(
    modality="MR", spacing_mm=(2.0, 2.0, 2.0), window_hu=None, percentiles=(0.5, 99.5),
    foreground="auto", patch_size=16, batch_size=2, channels=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared():
    image, labels = phantom(GRIDS["RAS"], noise=8.0)
    scaled = MetaTensor(image.as_tensor() / 220, affine=image.affine)
    return [Prepared(scaled, MetaTensor(torch.from_numpy(labels > 0).float()[None], affine=image.affine), scaled)]


def sampler(prepared, **options):
    return PatchSampler(prepared, PLAN, 0, **options)


def squared_error(network, patches, inside, generator):
    """A loss of its own kind: the mean logit must equal the intensity."""
    noisy = patches + 0.01 * torch.randn(patches.shape, generator=generator)
    logits = network(torch.cat([noisy, inside], dim=1))
    return (((logits[:, :1] + 2 - patches.reshape(-1, 1)) ** 2) * inside.reshape(-1, 1)).mean()


def fresh():
    torch.manual_seed(0)
    return Autoencoder(SMALL, 4)


def test_training_lowers_the_loss(prepared):
    losses = []
    config = TrainingConfig(max_steps=40, eval_interval=10)
    record = train(fresh(), sampler(prepared), squared_error, config=config, on_step=lambda *a: losses.append(a[2]))
    assert len(losses) == record.n_steps == 40
    assert len(record.losses) == 4
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])
    assert not record.ended_early


def test_an_interrupted_run_ends_with_the_same_weights(prepared, tmp_path):
    config = TrainingConfig(max_steps=70, eval_interval=10, patience=50)
    undisturbed = fresh()
    train(undisturbed, sampler(prepared), squared_error, config=config)

    def stop(done, _most, _loss):
        if done == 57:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(), sampler(prepared), squared_error, config=config, checkpoint=tmp_path / "c", on_step=stop)
    resumed, steps = fresh(), []
    record = train(
        resumed, sampler(prepared), squared_error, config=config, checkpoint=tmp_path / "c",
        on_step=lambda *a: steps.append(a[0]),
    )  # fmt: skip
    assert steps[0] == 51
    assert len(record.losses) == 7
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_training_ends_early_when_nothing_improves(prepared):
    config = TrainingConfig(max_steps=400, eval_interval=5, patience=2)

    def constant(network, patches, _inside, _generator):
        return 0.0 * network(torch.cat([patches, patches], dim=1)).sum() + 1.0

    record = train(fresh(), sampler(prepared), constant, config=config)
    assert record.ended_early
    assert record.n_steps == 15


def test_patches_are_centred_in_the_foreground_and_repeat(prepared):
    patches = PatchSampler(prepared, PLAN, seed=3)
    first, inside = patches.draw(11)
    again, _ = PatchSampler(prepared, PLAN, seed=3).draw(11)
    other, _ = patches.draw(12)
    assert first.shape == (2, 1, 16, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    shares = [float(patches.draw(step)[1].mean()) for step in range(20)]
    volume_share = float(prepared[0].foreground.as_tensor().mean())
    assert np.mean(shares) > 1.5 * volume_share
    assert inside.unique().tolist() in ([0.0, 1.0], [1.0])


def test_patches_are_the_ones_that_monai_cuts_flipped(prepared):
    patches = sampler(prepared[:1])
    volume, indices = patches.volumes[0], patches.indices[0]
    for step in range(10):
        drawn = torch.cat(patches.draw(step), dim=1)
        patches.crop.set_random_state(seed=seed_of(patches.seed, step, 0))
        for patch in drawn:
            [expected] = patches.crop(volume, label=volume[-1:], fg_indices=indices, bg_indices=indices)
            flips = (axes for n in range(4) for axes in combinations((1, 2, 3), n))
            assert any(torch.equal(patch, torch.flip(expected.as_tensor(), axes)) for axes in flips)


def test_a_scan_smaller_than_a_patch_is_padded():
    image = MetaTensor(torch.rand(1, 5, 30, 9), affine=torch.eye(4))
    tiny = Prepared(image, MetaTensor(torch.ones(1, 5, 30, 9), affine=torch.eye(4)), image)
    patches, inside = PatchSampler([tiny], PLAN, seed=0).draw(0)
    assert patches.shape == (2, 1, 16, 16, 16)
    assert 0 < float(inside.mean()) < 1


def test_patches_come_from_disk_as_from_memory(prepared):
    store = Store(0)
    first, second = sampler(prepared), sampler(prepared, store=store)
    assert store.n_bytes == 0
    for step in (0, 7):
        for one, other in zip(first.draw(step), second.draw(step), strict=True):
            assert torch.equal(one, other)


def test_a_store_keeps_up_to_its_bound_in_memory():
    store, values = Store(1000), np.arange(200, dtype=np.float32)
    kept = [store.array(values) for _ in range(3)]
    assert kept[0] is values
    assert all(isinstance(part, np.memmap) for part in kept[1:])
    assert store.array(np.zeros(40, np.float32)).base is None
    assert all(np.array_equal(part, values) for part in kept)
    assert Store(None).array(values) is values
    assert isinstance(Store(0).array(np.zeros((0, 3))), np.ndarray)


def test_a_step_never_asks_its_device_for_a_number(prepared):
    """On the meta device there is no number to ask for: waiting for a GPU would raise here."""
    device = torch.device("meta")
    patches = sampler(prepared, device=device, room_bytes=1e9)
    assert all(volume.device == device for volume in patches.volumes)
    network = fresh().to(device)
    optimiser = torch.optim.AdamW(network.parameters())
    batch, inside = patches.draw(0)
    value = loss(network, batch, inside, torch.Generator())
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    assert batch.shape == (2, 1, 16, 16, 16)
    with pytest.raises((NotImplementedError, RuntimeError)):
        float(value)


def test_volumes_beyond_the_room_of_a_device_stay_on_the_cpu(prepared):
    device, n_bytes = (
        torch.device("meta"),
        sum(part.nbytes for part in (prepared[0].network_image, prepared[0].foreground)),
    )
    patches = sampler(prepared * 2, device=device, room_bytes=1.5 * n_bytes)
    assert [volume.device.type for volume in patches.volumes] == ["meta", "cpu"]
    assert all(part.device == device for step in range(4) for part in patches.draw(step))


def test_losses_are_told_step_by_step_and_kept_as_means(prepared):
    values, told = iter((3.0, 5.0, 8.0)), []

    def given(network, _patches, _inside, _generator):
        return 0.0 * network.first.weight.sum() + next(values)

    config = TrainingConfig(max_steps=3, eval_interval=2)
    record = train(fresh(), sampler(prepared), given, config=config, on_step=lambda *a: told.append(a[2]))
    assert record.losses == (4.0,)
    assert told == [3.0, 5.0, 8.0]


def test_losses_of_a_device_that_must_not_be_asked_are_told_a_check_late():
    assert TrainingState(3, [4.0]).told(torch.empty((), device="meta")) == 4.0
