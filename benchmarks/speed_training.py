"""Training steps a second: medseg's loop beside the plain MONAI loop, same network, same loss, same patch size.

``python -m benchmarks.speed_training`` takes the brain of BrainWeb on its working grid. The plain loop is what MONAI's
tutorials show: dictionary transforms, `CacheDataset`, `DataLoader`, fp32, tensors laid out as PyTorch does by itself;
once with processes that prepare patches, as in the tutorials, and once without, which is faster where cores are few.
Each has a process of its own, and they take turns, so that what else the machine does hits both. Ours has what the
command line and `train` give it: large pages, freed memory kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandCropByPosNegLabeld
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.spatial.dictionary import Orientationd, RandFlipd
from monai.transforms.utility.dictionary import EnsureChannelFirstd
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_busy import busy_share, told
from medseg import load_config
from medseg.io.read import read_mask, read_scan
from medseg.network.autoencoder import Autoencoder, by_voxel, every_second, from_every_second
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.training import autocast
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.memory import freed_memory_kept
from medseg.spatial.geometry import Geometry

N_TURNS = 6
STEPS = 16
PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What the command line sets."""
Step = Callable[[], float | Tensor]
"""One step and its loss; ours is a tensor that no step waits for, as in `train`."""


class PlainAutoencoder(Autoencoder):
    """The same network, laid out as PyTorch does by itself: nothing is told about memory."""

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `Autoencoder.features`, contiguous and with PyTorch's pooling."""
        weight = (self.first.weight * self.hole).contiguous()
        around = functional.leaky_relu(functional.conv3d(x.contiguous(), weight, self.first.bias, padding=1), 0.1)
        fine = every_second(self.enter(around)).contiguous()
        fine = fine + self.fine(functional.leaky_relu(fine, 0.1))
        middle = self.middle(functional.avg_pool3d(fine, 2))
        coarse = self.from_coarse(self.coarse(functional.avg_pool3d(middle, 2)))
        middle = middle + functional.interpolate(coarse, scale_factor=2, mode="trilinear")
        far = self.from_middle(self.middle_up(middle))
        fine = fine + functional.interpolate(far, scale_factor=2, mode="trilinear")
        fine = fine + self.fine_up(functional.leaky_relu(fine, 0.1))
        return by_voxel(from_every_second(fine)), by_voxel(around)

    def log_prior(self, fine: Tensor, around: Tensor) -> Tensor:
        """As `Autoencoder.log_prior`, voxel by voxel."""
        joined = functional.linear(torch.cat([fine, around], dim=1), self.join.weight.flatten(1), self.join.bias)
        logits = functional.linear(functional.leaky_relu(joined, 0.1), self.head.weight.flatten(1), self.head.bias)
        return torch.log_softmax(logits, dim=1)


def plain_loss(network: Autoencoder, patches: Tensor, inside: Tensor) -> Tensor:
    """As `medseg.network.loss.loss`."""
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
        crop,
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
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-4, foreach=True)
    count = iter(range(1 << 30))

    def step() -> Tensor:
        image, inside = (part.to(device) for part in patches.draw(next(count)))
        with autocast(device, "auto", patches.size):
            value = loss(network, image, inside, torch.Generator())
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return value.detach()

    return step


def _steps_of(scan: Path, mask: Path, on: str, n_workers: int | None, changes: Sequence[str]) -> tuple[Step, Plan]:
    """A loop from the same weights as every other, ours without `n_workers`, and the plan that all keep to."""
    device = torch.device(on)
    image = read_scan(scan)
    inside = read_mask(mask, Geometry.of(image))
    config = load_config("brain_t1", changes)
    plan = Plan.fit([ScanFingerprint.of(image, foreground_of(image, inside), "MR")], config)
    working, foreground = plan.to_working_grid(image, inside)
    torch.manual_seed(0)
    network = (Autoencoder if n_workers is None else PlainAutoencoder)(config.autoencoder, plan.channels)
    network.start_from(working.as_tensor()[foreground.as_tensor() > 0][:100_000], 0.05)
    if n_workers is None:
        sampler = PatchSampler([Prepared(working, foreground, working)], plan, 0, device=device, room_bytes=1e9)
        return _own_step(network.to(device), sampler, device), plan
    network = network.to(device)
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    # On disk as the loop would find it, in the unit of the other loop: their losses can be compared.
    folder = Path(tempfile.mkdtemp())
    paths = folder / "image.nii.gz", folder / "mask.nii.gz"
    for path, part in zip(paths, (working, foreground), strict=True):
        nib.save(nib.Nifti1Image(part.as_tensor()[0].numpy(), part.affine.numpy()), path)
    batches = _patches(*paths, plan.patch_size, plan.batch_size, n_workers)
    next(batches)  # the cache is full
    shutil.rmtree(folder)
    return _plain_step(network, batches, device), plan


def _work(
    pipe: Connection, scan: Path, mask: Path, on: str, n_workers: int | None, n_steps: int, changes: Sequence[str]
) -> None:
    """A process with one of the loops: tells seconds and losses of `n_steps` steps whenever it is asked for them."""
    step, plan = _steps_of(scan, mask, on, n_workers, changes)
    with freed_memory_kept() if n_workers is None else nullcontext():  # as `train` has it
        pipe.send(plan)
        while pipe.recv():
            started = time.perf_counter()
            losses = [float(value) for value in [step() for _ in range(n_steps)]]
            pipe.send(((time.perf_counter() - started) / n_steps, losses))
        pipe.send(busy_share(lambda: [step() for _ in range(n_steps)], torch.device(on)))


class Seen(NamedTuple):
    """Steps a second of medseg and of the fastest plain loop, the GPU's share of the time of medseg's, all in words."""

    text: str
    own: float
    plain: float
    busy: float | None


def measure(
    scan: Path,
    mask: Path,
    *,
    n_workers: Sequence[int] = (0, 2),
    on: str = "cpu",
    n_turns: int = N_TURNS,
    n_steps: int = STEPS,
    changes: Sequence[str] = (),
) -> Seen:
    """Seconds a step of each loop, each in a process of its own, in turns, and their ratios.

    Args:
        n_workers: processes that prepare patches, one plain loop for each number.
    """
    context = multiprocessing.get_context("spawn")
    loops = [None, *n_workers]
    times: dict[int | None, list[float]] = {loop: [] for loop in loops}
    losses: dict[int | None, list[float]] = {loop: [] for loop in loops}
    pipes = {}
    for loop in loops:
        os.environ.update(PAGES if loop is None else {})
        pipes[loop], theirs = context.Pipe()
        context.Process(target=_work, args=(theirs, scan, mask, on, loop, n_steps, changes), daemon=not loop).start()
        theirs.close()
        for key in PAGES:
            os.environ.pop(key, None)
    plan, *_ = [pipe.recv() for pipe in pipes.values()]  # all are ready
    for turn in range(n_turns + 1):
        for loop, pipe in pipes.items():
            pipe.send(True)
            seconds, found = pipe.recv()
            losses[loop] += found
            times[loop] += [seconds] if turn else []
    shares = {}
    for loop, pipe in pipes.items():  # one after the other: they share the GPU
        pipe.send(False)
        shares[loop] = pipe.recv()
    own_s = statistics.median(times[None])
    lines = [f"training, {plan.batch_size} x {plan.patch_size}^3, mean loss of the last {3 * n_steps} steps:"]
    for loop in loops:
        seconds, end = statistics.median(times[loop]), statistics.mean(losses[loop][-3 * n_steps :])
        name = "medseg" if loop is None else f"plain MONAI, {loop} loader processes"
        busy = "" if on == "cpu" else f", {told(shares[loop])}"
        lines.append(f"{name}: {seconds:.4f} s a step, {1 / seconds:.1f} steps a second, "
                     f"{seconds / own_s:.2f} times medseg's time, loss {end:.3f}{busy}")  # fmt: skip
    fastest = min(statistics.median(times[loop]) for loop in n_workers)
    return Seen("\n".join(lines), 1 / own_s, 1 / fastest, shares[None])


def main() -> None:
    """Measure on the brain of BrainWeb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 2], help="processes of the plain loop's DataLoader"
    )
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    folder = args.shared / "brain_t1_brainweb"
    found = measure(
        folder / "brainweb_T1w.nii.gz", folder / "brain_mask.nii.gz", n_workers=args.workers, on=args.device
    )
    print(found.text)


if __name__ == "__main__":
    main()
