from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import GRIDS
from monai.data.meta_tensor import MetaTensor

from medseg.autoencoder import HALO, LEAST_SPREAD, Autoencoder, every_second, from_every_second
from medseg.checkpoint import TrainingState
from medseg.config import AutoencoderConfig, TrainingConfig
from medseg.embedding import embed, white_noise
from medseg.objective import loss
from medseg.patches import PatchSampler
from medseg.preprocessing import Plan, Prepared
from medseg.store import Store
from medseg.training import _advance, _told, train
from sample_data.phantom import phantom

SMALL = AutoencoderConfig(channels=4, n_components=3)
PLAN = Plan(
    modality="MR", spacing_mm=(2.0, 2.0, 2.0), window_hu=None, percentiles=(0.5, 99.5),
    foreground="auto", patch_size=16, batch_size=2, channels=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared():
    image, labels = phantom(GRIDS["RAS"], noise=8.0)
    scaled = MetaTensor(image.as_tensor() / 220, affine=image.affine)
    return [Prepared(scaled, MetaTensor(torch.from_numpy(labels > 0).float()[None], affine=image.affine))]


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


@pytest.fixture(scope="module")
def rod():
    """A long thin image, so that tiles with their halo are smaller than the whole."""
    torch.manual_seed(1)
    image = MetaTensor(torch.rand(1, 13, 22, 101), affine=torch.eye(4))
    inside = MetaTensor((torch.rand(1, 13, 22, 101) > 0.2).float(), affine=torch.eye(4))
    return image, inside


@pytest.mark.parametrize("tile_voxels", [16 * 24 * 64, 16 * 24 * 24, 1])
def test_the_result_does_not_depend_on_the_tiles(rod, tile_voxels):
    torch.manual_seed(1)
    network = Autoencoder(SMALL, 4).eval()
    whole = embed(network, *rod)
    tiles = embed(network, *rod, window_voxels=1000, tile_voxels=tile_voxels)
    assert whole.mean.shape == (1, 13, 22, 101)
    assert float(whole.mean.as_tensor().std()) > 1e-3
    assert (tiles.mean.as_tensor() - whole.mean.as_tensor()).abs().max() < 1e-5
    assert (tiles.sd.as_tensor() - whole.sd.as_tensor())[rod[1].as_tensor() > 0].abs().max() < 1e-4


def reached_from(network, place):
    """Gradient of the logits at `place`, (160, 16, 16)."""
    x = torch.rand(1, 2, 160, 16, 16, dtype=torch.double, requires_grad=True)
    network.double()(x).view(160, 16, 16, -1)[place, 7, 8].square().sum().backward()
    return x.grad[0, 0]


def test_the_halo_covers_what_the_near_levels_see():
    torch.manual_seed(2)
    for place in (79, 80, 83):
        network = Autoencoder(SMALL, 4)
        seen = torch.nonzero(reached_from(network, place).abs().amax(dim=(1, 2)) > 0).flatten()
        assert int(seen.max()) - place > 3 * HALO
        network.far = torch.zeros_like
        used = torch.nonzero(reached_from(network, place).abs().amax(dim=(1, 2)) > 0).flatten()
        assert int(used.min()) >= place - HALO
        assert int(used.max()) <= place + HALO


@pytest.mark.parametrize("place", range(72, 80))
def test_no_voxel_sees_itself(place):
    torch.manual_seed(3)
    gradient = reached_from(Autoencoder(SMALL, 4), place)
    assert float(gradient[place, 7, 8]) == 0.0
    neighbours = [gradient[place - 1, 7, 8], gradient[place + 1, 7, 8], gradient[place, 6, 8], gradient[place, 7, 9]]
    assert all(float(g.abs()) > 0 for g in neighbours)


def test_space_to_batch_is_undone():
    x = torch.rand(2, 3, 8, 6, 4)
    assert torch.equal(from_every_second(every_second(x)), x)
    assert torch.equal(every_second(x)[0], x[0, :, ::2, ::2, ::2])


def test_the_posterior_equals_a_plain_mixture():
    """One voxel by numerical integration over the noise-free intensity u: u ~ mixture, x = u + noise."""
    torch.manual_seed(4)
    network = Autoencoder(SMALL, 4).eval()
    network.start_from(torch.rand(1000) * 3 + 5, noise=0.1)
    x, inside, affine = torch.rand(1, 1, 8, 8, 8) * 3 + 5, torch.ones(1, 1, 8, 8, 8), torch.eye(4)
    image = MetaTensor(x[0], affine=affine)
    noise = white_noise(image, MetaTensor(inside[0], affine=affine)) / float(network.scale)
    standard = (x - network.centre) / network.scale
    prior = network(torch.cat([standard, inside], 1)).view(8, 8, 8, -1)[3, 4, 5].exp()
    trained = network.log_sds.exp() ** 2
    spread = (trained - network.noise**2).clamp_min(LEAST_SPREAD**2).sqrt()
    u = torch.linspace(-8, 8, 20_001)
    density = (
        prior[:, None] * torch.distributions.Normal(network.means[:, None], spread[:, None]).log_prob(u).exp()
    ).sum(0)
    weight = density * torch.distributions.Normal(u, noise).log_prob(standard[0, 0, 3, 4, 5]).exp()
    expected = (weight * u).sum() / weight.sum()
    deviation = ((weight * (u - expected) ** 2).sum() / weight.sum()).sqrt()
    found = embed(network, image, MetaTensor(inside[0], affine=affine))
    assert float(found.mean[0, 3, 4, 5]) == pytest.approx(float(network.centre + network.scale * expected), abs=1e-3)
    assert float(found.sd[0, 3, 4, 5]) == pytest.approx(float(network.scale * deviation), abs=1e-3)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_no_component_reaches_is_kept_as_it_is(sign):
    """A tissue darker than in every training scan must not be drawn to the darkest one that is known."""
    torch.manual_seed(6)
    network = Autoencoder(SMALL, 4).eval()
    network.start_from(torch.rand(1000) * 3 + 5, noise=0.1)
    x, inside = torch.rand(1, 8, 8, 8) * 3 + 5, MetaTensor(torch.ones(1, 8, 8, 8), affine=torch.eye(4))

    def found(step):
        changed = x.clone()
        changed[0, 3, 4, 5] = 6.5 + sign * step
        return float(embed(network, MetaTensor(changed, affine=torch.eye(4)), inside, noise=1.0).mean[0, 3, 4, 5])

    assert abs(found(0.5) - found(0.0)) < 0.45
    assert found(60.0) - found(20.0) == pytest.approx(40 * sign, abs=1e-3)


def test_the_loss_is_the_likelihood_of_one_voxel():
    torch.manual_seed(5)
    network = Autoencoder(SMALL, 4).eval()
    network.start_from(torch.rand(1000) * 3 + 5, noise=0.1)
    x, alone = torch.rand(1, 1, 8, 8, 8) * 3 + 5, torch.zeros(1, 1, 8, 8, 8)
    alone[..., 3, 4, 5] = 1
    prior = network(torch.cat([network.standardise(x, alone), alone], 1)).view(8, 8, 8, -1)[3, 4, 5].exp()
    value = (x[0, 0, 3, 4, 5] - network.centre) / network.scale
    likelihood = torch.distributions.Normal(network.means, network.log_sds.exp()).log_prob(value).exp()
    expected = -float((prior * likelihood).sum().log()) - 0.5 * np.log(2 * np.pi)
    assert float(loss(network, x, alone, torch.Generator())) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sd", [0.5, 2.0])
def test_white_noise_is_measured_under_an_image(sd):
    i, j, k = torch.meshgrid(*[torch.arange(40.0)] * 3, indexing="ij")
    smooth = 30 * torch.sin(i / 9) + j + 0.5 * k
    noisy = smooth + sd * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    whole = MetaTensor(torch.ones(1, 40, 40, 40), affine=torch.eye(4))
    assert white_noise(MetaTensor(noisy[None], affine=torch.eye(4)), whole) == pytest.approx(sd, rel=0.05)


def test_training_lowers_the_loss(prepared):
    losses = []
    config = TrainingConfig(max_steps=40, check_steps=10)
    record = train(fresh(), sampler(prepared), squared_error, config=config, on_step=lambda *a: losses.append(a[2]))
    assert len(losses) == record.n_steps == 40
    assert len(record.losses) == 4
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])
    assert not record.ended_early


def test_an_interrupted_run_ends_with_the_same_weights(prepared, tmp_path):
    config = TrainingConfig(max_steps=70, check_steps=10, patience_checks=50)
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
    config = TrainingConfig(max_steps=400, check_steps=5, patience_checks=2)

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


def test_a_scan_smaller_than_a_patch_is_padded():
    tiny = Prepared(
        MetaTensor(torch.rand(1, 5, 30, 9), affine=torch.eye(4)),
        MetaTensor(torch.ones(1, 5, 30, 9), affine=torch.eye(4)),
    )
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
    device, n_bytes = torch.device("meta"), sum(part.nbytes for part in prepared[0])
    patches = sampler(prepared * 2, device=device, room_bytes=1.5 * n_bytes)
    assert [volume.device.type for volume in patches.volumes] == ["meta", "cpu"]
    assert all(part.device == device for step in range(4) for part in patches.draw(step))


def test_losses_are_told_without_waiting_but_kept_exactly():
    """Losses of a device that must not be asked are told a check late, and their means are the same."""
    config = TrainingConfig(check_steps=2)
    state = TrainingState()
    for step in (3.0, 5.0, 8.0):
        _advance(state, torch.tensor(step), config)
    assert state.losses == [4.0]
    assert _told(state, torch.tensor(8.0)) == 8.0
    assert _told(state, torch.empty((), device="meta")) == 4.0
