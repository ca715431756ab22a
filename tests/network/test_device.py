"""Training and inference on a simulated device: the numbers of the CPU, and bounded copies and waits."""

from __future__ import annotations

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.config import AutoencoderConfig, TrainingConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.context import ContextEncoder
from medseg.network.context_training import train_context
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.texture import TextureEncoder, train_texture
from medseg.network.tiled_inference import embed
from medseg.network.training import train
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.quality.metrics import reconstruction_error
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid
from tests.support.simulated import DEVICE, used
from tests.support.traffic import TO_DEVICE, TO_HOST, WAIT

PLAN = Plan(
    modality="MR", spacing_mm=(2.0, 2.0, 2.0), window_hu=None, percentiles=(0.5, 99.5),
    foreground="auto", patch_size=16, batch_size=2, channels=4,
)  # fmt: skip
STEPS, EVERY = 12, 4
CONFIG = TrainingConfig(max_steps=STEPS, eval_interval=EVERY, patience=50)
ROOM = 1e9


@pytest.fixture(scope="module")
def prepared():
    image, labels = phantom(small_grid(), noise=8.0)
    scaled = MetaTensor(image.as_tensor() / 220, affine=image.affine)
    return Prepared(scaled, MetaTensor(torch.from_numpy(labels > 0).float()[None], affine=image.affine), scaled)


def fresh(prepared):
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(channels=4, n_components=4), 4)
    network.start_from(prepared.image.as_tensor()[prepared.foreground.as_tensor() > 0], 0.04)
    return network


def trained(prepared, device, room, objective=loss):
    network = fresh(prepared).to(device)
    sampler = PatchSampler([prepared], PLAN, 0, device=torch.device(device), room_bytes=room)
    with used() as traffic:
        record = train(network, sampler, objective, config=CONFIG, on_step=lambda *_step: None)
    return network, record, traffic


def test_a_tensor_on_the_wrong_device_fails(prepared):
    def objective(network, patches, inside, generator):
        return loss(network, patches, inside, generator) + torch.zeros(1)

    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        trained(prepared, DEVICE, ROOM, objective)


def test_a_generator_of_the_host_fails(prepared):
    def objective(network, patches, inside, _generator):
        noise = torch.rand(patches.shape, generator=torch.Generator().manual_seed(0), device=patches.device)
        return loss(network, patches + noise, inside, _generator)

    with pytest.raises(RuntimeError, match="device type for generator"):
        trained(prepared, DEVICE, ROOM, objective)


def test_what_crosses_and_what_waits_is_counted():
    with used() as traffic:
        x = torch.zeros(3, 4, device=DEVICE)
        x[:, 1] = 2
        x[x > 1] = 5  # one value: no shape to know
        assert traffic.events == []
        assert x.sum().item() == 15
        assert bool((x > 4).any())
        assert [e.operation for e in traffic.events] == ["_local_scalar_dense"] * 2
        assert x[x > 1].shape == (3,)
        assert traffic.count(WAIT) == 3, traffic.table()
        x[x > 1] = torch.arange(3.0, device=DEVICE)
        assert traffic.count(WAIT) == 4, traffic.table()
        assert x.cpu()[:, 1].tolist() == [0, 1, 2]
        (x + torch.ones(3, 4).to(DEVICE)).tolist()
        assert (traffic.count(TO_HOST), traffic.count(TO_DEVICE)) == (2, 1), traffic.table()
        with pytest.raises(TypeError, match="can't convert simulated:0 device type tensor to numpy"):
            x.numpy()
        with pytest.raises(RuntimeError, match="same device"):
            torch.zeros(3, 4)[x > 1]


def test_training_learns_the_same_and_asks_the_device_at_checks_only(prepared):
    """With room for the scans nothing is sent in a step; numbers come back with the first step and with each check."""
    network, record, traffic = trained(prepared, DEVICE, ROOM)
    assert traffic.count(TO_DEVICE) == 0, traffic.table()
    assert traffic.count(WAIT) == 1, traffic.table()
    assert traffic.count(TO_HOST) == STEPS // EVERY, traffic.table()
    assert next(network.parameters()).device == DEVICE
    own, own_record, _ = trained(prepared, "cpu", 0)
    assert record.losses == pytest.approx(own_record.losses, abs=2e-3)
    assert torch.allclose(network.means.detach().cpu(), own.means, atol=1e-3)


def test_scans_without_room_cost_one_copy_a_step(prepared):
    _, record, traffic = trained(prepared, DEVICE, 0)
    assert traffic.count(TO_DEVICE) == record.n_steps == STEPS, traffic.table()


def test_training_goes_on_from_a_checkpoint_of_the_device(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.network.training.CHECKPOINT_STEPS", 3)
    sampler = PatchSampler([prepared], PLAN, 0, device=DEVICE, room_bytes=ROOM)
    config = TrainingConfig(max_steps=6, eval_interval=2)

    def stop(done, _most, _loss):
        if done == 5:
            raise KeyboardInterrupt

    networks = [fresh(prepared).to(DEVICE) for _ in range(3)]
    with used():
        whole = train(networks[0], sampler, loss, config=config)
        with pytest.raises(KeyboardInterrupt):
            train(networks[1], sampler, loss, config=config, checkpoint=tmp_path / "c", on_step=stop)
        steps = []
        resumed = train(networks[2], sampler, loss, config=config, checkpoint=tmp_path / "c",
                        on_step=lambda done, *_told: steps.append(done))  # fmt: skip
    assert steps == [4, 5, 6]
    assert resumed.losses == whole.losses
    assert torch.equal(networks[2].means.detach().cpu(), networks[0].means.detach().cpu())


def test_the_context_latent_trains_there(prepared):
    """A step sends crops, foreground and places, and waits once: for the number of voxels that pairs are drawn from."""
    found = []
    for device in (DEVICE, torch.device("cpu")):
        torch.manual_seed(0)
        context = ContextEncoder(width=8, n_scales=2)
        context.start_from(prepared.image.as_tensor()[prepared.foreground.as_tensor() > 0][:, None], (4.0, 4.0, 4.0))
        context.to(device)
        with used() as traffic:
            train_context(context, [prepared], n_steps=4, seed=0)
        if device == DEVICE:
            in_steps = [e for e in traffic.events if e.place.startswith("network/context.py")]
            assert len(in_steps) == 4, traffic.table()
            assert traffic.count(TO_DEVICE) <= 3 * 4, traffic.table()
            assert traffic.count(WAIT) + traffic.count(TO_HOST) <= 4 + 2, traffic.table()
        with used() as traffic:
            found.append(context.encode(prepared.image.as_tensor(), prepared.foreground.as_tensor()))
        assert traffic.count() <= 3, traffic.table()
    assert torch.allclose(found[0], found[1], atol=0.05 * float(found[1].std()))


def test_the_texture_latent_trains_there(prepared):
    """A step sends a crop and its foreground, and waits twice: for the foreground, and for the pairs that lie in it."""
    found = []
    for device in (DEVICE, torch.device("cpu")):
        torch.manual_seed(0)
        encoder = TextureEncoder()
        encoder.start_from(prepared.image.as_tensor()[prepared.foreground.as_tensor() > 0])
        encoder.to(device)
        with used() as traffic:
            train_texture(encoder, [prepared], n_steps=3, seed=0)
            found.append(encoder.encode(prepared.image.as_tensor(), prepared.foreground.as_tensor()))
        if device == DEVICE:
            assert traffic.count(TO_DEVICE) <= 2 * 3 + 2, traffic.table()
            assert traffic.count(WAIT) <= 2 * 3 + 1, traffic.table()
            assert traffic.count(TO_HOST) == 1, traffic.table()
    assert torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.parametrize("window_voxels", [12_000_000, 32_000])
def test_a_volume_crosses_once_in_each_direction(prepared, window_voxels, monkeypatch):
    """However many tiles and slabs there are; the result is that of the CPU."""
    monkeypatch.setattr("medseg.network.windows.SLAB_VOXELS", 8_000)
    network = fresh(prepared)
    own = embed(network, prepared.image, prepared.foreground, window_voxels=window_voxels)
    network.to(DEVICE)
    with used() as traffic:
        found = embed(network, prepared.image, prepared.foreground, window_voxels=window_voxels)
    assert traffic.count(WAIT) == 0, traffic.table()
    assert traffic.count(TO_HOST) == 3, traffic.table()  # mean, standard deviation, the scale of the intensities
    assert traffic.count(TO_DEVICE) == 3, traffic.table()  # intensities, foreground, noise
    assert found.mean.device.type == found.sd.device.type == "cpu"
    assert torch.allclose(found.mean, own.mean, atol=1e-5)
    assert torch.allclose(found.sd, own.sd, atol=1e-5)


def test_the_error_of_a_scan_is_that_of_the_cpu(prepared):
    network = fresh(prepared).eval()
    own = reconstruction_error(network, prepared)
    with used():
        assert reconstruction_error(network.to(DEVICE), prepared) == pytest.approx(own, abs=1e-4)
