"""Training steps a second: medseg's loop beside the plain MONAI loop, same network, same loss, same patch size.

``python -m benchmarks.speed_training`` takes the brain of BrainWeb. The plain loop is what MONAI's tutorials show:
dictionary transforms, `CacheDataset`, `DataLoader`, fp32, tensors laid out as PyTorch does by itself. Both run in turns
in one process, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlipd,
    ScaleIntensityRangePercentilesd,
)
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from medseg import load_config
from medseg.autoencoder import Autoencoder, every_second, loss
from medseg.fingerprint import ScanFingerprint
from medseg.geometry import Geometry
from medseg.io.read import read_mask, read_scan
from medseg.patches import PatchSampler
from medseg.preprocessing import Plan, foreground_of
from medseg.training import autocast

N_TURNS = 4
STEPS = 8
Step = Callable[[], float]


class PlainAutoencoder(Autoencoder):
    """The same network, laid out as PyTorch does by itself: nothing is told about memory."""

    def near(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `Autoencoder.near`, contiguous."""
        weight = (self.first.weight * self.hole).contiguous()
        around = functional.leaky_relu(functional.conv3d(x.contiguous(), weight, self.first.bias, padding=1), 0.1)
        lattices = every_second(self.enter(around)).contiguous()
        return self.fine(functional.leaky_relu(lattices, 0.1)) + lattices, around

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `Autoencoder.features`, with PyTorch's pooling."""
        fine, around = self.near(x)
        middle = self.middle(functional.avg_pool3d(fine, 2))
        coarse = self.from_coarse(self.coarse(functional.avg_pool3d(middle, 2)))
        middle = middle + functional.interpolate(coarse, scale_factor=2, mode="trilinear")
        return self.joined(fine, around, self.from_middle(self.middle_up(middle)))

    def log_prior(self, fine: Tensor, around: Tensor) -> Tensor:
        """As `Autoencoder.log_prior`, voxel by voxel."""
        joined = functional.linear(torch.cat([fine, around], dim=1), self.join.weight.flatten(1), self.join.bias)
        logits = functional.linear(functional.leaky_relu(joined, 0.1), self.head.weight.flatten(1), self.head.bias)
        return torch.log_softmax(logits, dim=1)


def plain_loss(network: Autoencoder, patches: Tensor, inside: Tensor) -> Tensor:
    """As `medseg.autoencoder.loss`."""
    standardised = network.standardise(patches, inside)
    log_prior = network(torch.cat([standardised, inside], dim=1))
    likelihood = network.log_likelihood(standardised.reshape(-1, 1)).T
    value = torch.logsumexp(log_prior + likelihood, dim=1)
    return -(value * inside.flatten()).sum() / inside.sum().clamp_min(1)


def _patches(scan: Path, mask: Path, size: int, batch_size: int, n_workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as MONAI's tutorials make them."""
    keys = ["image", "mask"]
    crop = RandCropByPosNegLabeld(keys, "mask", (size, size, size), pos=1, neg=0, num_samples=1)
    transforms = Compose([
        LoadImaged(keys), EnsureChannelFirstd(keys), Orientationd(keys, axcodes="RAS", labels=None),
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0.0, 1.0, clip=True), crop,
        *(RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
    ])  # fmt: skip
    items = [{"image": str(scan), "mask": str(mask)}] * 64
    data = CacheDataset(items, transforms, cache_rate=1.0, progress=False)
    loader = DataLoader(data, batch_size=batch_size, shuffle=True, num_workers=n_workers)
    while True:
        for batch in loader:
            found = batch[0] if isinstance(batch, list) else batch
            yield found["image"].as_tensor(), (found["mask"].as_tensor() > 0).float()


def _plain_step(network: Autoencoder, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Step:
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-4)

    def step() -> float:
        image, inside = (part.to(device) for part in next(batches))
        value = plain_loss(network, image, inside)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return value.item()

    return step


def _own_step(network: Autoencoder, patches: PatchSampler, device: torch.device) -> Step:
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-4)
    count = iter(range(1 << 30))

    def step() -> float:
        image, inside = (part.to(device) for part in patches.draw(next(count)))
        with autocast(device, "auto"):
            value = loss(network, image, inside, torch.Generator())
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return float(value.detach())

    return step


def _busy_share(step: Step) -> float:
    """Share of the time of some steps in which a GPU computes."""
    step()
    torch.cuda.synchronize()
    started = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    return sum(e.self_device_time_total for e in found.key_averages()) / 1e6 / (time.perf_counter() - started)


def measure(scan: Path, mask: Path, *, n_workers: int = 0, on: str = "cpu") -> str:
    """Seconds a step of either loop, in turns, and their ratio."""
    device = torch.device(on)
    image = read_scan(scan)
    inside = read_mask(mask, Geometry.of(image))
    config = load_config("brain_t1")
    plan = Plan.fit([ScanFingerprint.of(image, foreground_of(image, inside), "MR")], config)
    prepared = plan.prepare(image, inside)
    torch.manual_seed(0)
    own = Autoencoder(config.autoencoder, plan.channels)
    own.start_from(prepared.image.as_tensor()[prepared.foreground.as_tensor() > 0][:100_000], 0.05)
    plain = PlainAutoencoder(config.autoencoder, plan.channels)
    plain.load_state_dict(copy.deepcopy(own.state_dict()))
    own, plain = own.to(device), plain.to(device, memory_format=torch.contiguous_format)
    batches = _patches(scan, mask, plan.patch_size, plan.batch_size, n_workers)
    steps = {
        "medseg": _own_step(own, PatchSampler([prepared], plan, 0, device=device, room_bytes=1e9), device),
        "plain MONAI": _plain_step(plain, batches, device),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(N_TURNS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            losses[name] += [step() for _ in range(STEPS)]
            if turn:
                times[name].append((time.perf_counter() - started) / STEPS)
    own_s, plain_s = (statistics.median(times[name]) for name in ("medseg", "plain MONAI"))
    ends = ", ".join(f"{name} {statistics.mean(values[-STEPS:]):.3f}" for name, values in losses.items())
    busy = f"; the GPU is busy {_busy_share(steps['medseg']):.0%} of the time" if device.type == "cuda" else ""
    return (f"training, {plan.batch_size} x {plan.patch_size}^3: medseg {own_s:.3f} s a step, "
            f"{plan.batch_size / own_s:.1f} patches a second, "
            f"plain MONAI ({n_workers} loader processes) {plain_s:.3f} s, ratio {plain_s / own_s:.2f}; "
            f"mean loss of the last {STEPS} steps: {ends}{busy}")  # fmt: skip


def main() -> None:
    """Measure on the brain of BrainWeb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--workers", type=int, default=0, help="processes of the plain loop's DataLoader")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    folder = args.shared / "brain_t1_brainweb"
    print(measure(folder / "brainweb_T1w.nii.gz", folder / "brain_mask.nii.gz", n_workers=args.workers, on=args.device))


if __name__ == "__main__":
    main()
