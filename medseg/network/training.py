"""Training: patches sampled inside the foreground, every voxel predicted from its surroundings, exact resume.

Every step draws its randomness from (seed, step) alone, so a run that was interrupted continues with the very
patches that it would have seen. Under torchrun every process draws its own patches and the gradients are averaged
(synchronous data parallelism: Li et al., "PyTorch Distributed", VLDB 2020), so all processes hold the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from medseg.config import TrainingConfig
from medseg.errors import ModelError
from medseg.network.autoencoder import STRIDE, Autoencoder
from medseg.network.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from medseg.network.patches import PatchSampler, seed_of
from medseg.runtime.memory import freed_memory_kept

CHECKPOINT_STEPS = 50


@dataclass(frozen=True)
class TrainingRecord:
    """What happened: the mean loss of every check, and whether it ended because it no longer improved."""

    losses: tuple[float, ...] = ()
    n_steps: int = 0
    ended_early: bool = False


Loss = Callable[[Autoencoder, Tensor, Tensor, torch.Generator], Tensor]
"""(network, patches (N, C, I, J, K), foreground (N, 1, I, J, K), randomness) -> scalar."""
OnStep = Callable[[int, int, float], None]
"""Called after each step with (steps done, steps at most, loss)."""


@dataclass(frozen=True)
class Group:
    """The processes that train together; one by itself is the first of one."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Group:
        """The group that this process has joined."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace `tensors` by their mean over the processes, in place, with one message."""
        if self.size > 1:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def check_same(self, step: int) -> None:
        """Stop when the processes resumed at different steps, as when one does not see the checkpoint."""
        if self.size > 1:
            found: list[Any] = [None] * self.size
            dist.all_gather_object(found, step)
            if len(set(found)) > 1:
                raise ModelError(f"the processes of torchrun resumed at the steps {found}, expected one; give them "
                                 "one shared folder")  # fmt: skip


@contextmanager
def joined_group(attempt: str = "") -> Iterator[Group]:
    """Join the processes that torchrun started, or be alone.

    Args:
        attempt: what all processes of this start have in common and none of the start before; torchrun may hand the
            store of that one to a restart, with addresses where nobody listens any more. Empty: not known.
    """
    if not dist.is_torchelastic_launched():
        yield Group()
        return
    store, rank, size = next(rendezvous("env://"))
    if attempt:
        store = dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    # gloo for the objects on the CPU, nccl for gradients on GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Group.current()
    finally:
        dist.destroy_process_group()


@freed_memory_kept()
def train(
    network: Autoencoder,
    patches: PatchSampler,
    loss: Loss,
    *,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> TrainingRecord:
    """Train `network` in place on the scans' patches, in step with the other processes of a `joined_group`.

    Args:
        patches: draws them; every scan is drawn equally often.
        checkpoint: folder that training resumes from when it exists, and writes to every 50 steps.

    Returns:
        The losses of the run, the steps before an interruption included.
    """
    device = next(network.parameters()).device
    # All weights at once; `fused` does not resume from a checkpoint to the same weights.
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-4, foreach=True)
    state = load_checkpoint(checkpoint, network, optimiser)
    group = Group.current()
    group.check_same(state.step)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    network.train()
    while state.step < config.max_steps and not state.has_stalled(config.patience):
        batch, inside = (part.to(device, non_blocking=True) for part in patches.draw(state.step))
        for settings in optimiser.param_groups:
            settings["lr"] = _learning_rate(state.step, config)
        seed = seed_of(config.seed, state.step, 1, *([group.rank] if group.rank else []))
        generator = torch.Generator(device=device).manual_seed(seed)
        with autocast(device, config.precision, patches.size):
            value = loss(network, batch, inside, generator)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(value).backward()
        value = value.detach()
        group.average([value, *(p.grad for p in network.parameters() if p.grad is not None)])
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(optimiser)
        scaler.update()
        _advance(state, value, config)
        if checkpoint is not None and group.rank == 0 and state.step % CHECKPOINT_STEPS == 0:
            save_checkpoint(checkpoint, network, optimiser, state)
        if on_step is not None:
            on_step(state.step, config.max_steps, state.told(value))
    network.eval()
    return TrainingRecord(tuple(state.losses), state.step, state.step < config.max_steps)


def _advance(state: TrainingState, loss: Tensor, config: TrainingConfig) -> None:
    """Count the step; losses are looked at once a check: a GPU that is asked for a number has to be waited for."""
    state.step += 1
    state.running.append(loss)
    if len(state.running) == config.eval_interval:
        state.losses.append(float(np.mean(state.numbers())))
        state.running.clear()


def _learning_rate(step: int, config: TrainingConfig) -> float:
    """Warm-up over 20 steps, then half a cosine down to 2 %."""
    progress = step / max(1, config.max_steps)
    return config.learning_rate * min(1.0, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def autocast(device: torch.device, precision: str, patch_size: int) -> AbstractContextManager[Any]:
    """Mixed precision as asked for; ``auto`` takes bfloat16 where the device computes in it.

    On a CPU patches of up to 16 voxels a side stay in single precision: oneDNN's bfloat16 gradient for the weights of
    a 3x3x3 convolution of 2x2x2 voxels reads memory that nothing was written to (seen in PyTorch 2.13).
    """
    is_small = device.type == "cpu" and patch_size < 3 * STRIDE
    if precision == "fp32" or is_small or (precision == "auto" and not _computes_bf16(device)):
        return nullcontext()
    return torch.autocast(device.type, torch.float16 if precision == "fp16" else torch.bfloat16)


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False  # what the CPU can says nothing of it
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())
