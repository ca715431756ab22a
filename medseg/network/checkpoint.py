"""Where training stands, on disk: safetensors and JSON, whole or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from medseg.io.atomic import recover_folder, whole_folder
from medseg.io.tensors import load_tensors, save_tensors
from medseg.network.autoencoder import Autoencoder

_LOG = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """Steps done, the mean loss of every check, and the losses since the last check."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    running: list[float | Tensor] = field(default_factory=list)
    first: float | None = None

    def has_stalled(self, patience: int) -> bool:
        """Whether none of the last `patience` checks was better than the best before them by .1 %."""
        if len(self.losses) <= patience:
            return False
        best_before = min(self.losses[:-patience])
        return min(self.losses[-patience:]) > best_before - 0.001 * abs(best_before)

    def told(self, loss: Tensor) -> float:
        """The loss of the step from a () tensor; on a GPU that of the last check, or of the first step before one.

        Asking a GPU for a number would wait until it has finished the step.
        """
        if loss.device.type == "cpu":
            return float(loss)
        if self.losses:
            return self.losses[-1]
        self.first = float(loss) if self.first is None else self.first
        return self.first

    def numbers(self) -> list[float]:
        """The losses since the last check, with one copy from a GPU for all of them."""
        kept = [loss for loss in self.running if isinstance(loss, Tensor)]
        told = iter(torch.stack(kept).tolist() if kept else [])
        return [next(told) if isinstance(loss, Tensor) else loss for loss in self.running]


def save_checkpoint(folder: Path, network: Autoencoder, optimiser: torch.optim.Optimizer, state: TrainingState) -> None:
    """Write weights, optimiser moments and state into `folder`."""
    record = {"step": state.step, "losses": state.losses, "running": state.numbers()}
    weights, moments = network.state_dict(), dict(_moments(optimiser))
    n_bytes = sum(tensor.numel() * tensor.element_size() for part in (weights, moments) for tensor in part.values())
    with whole_folder(folder, marker="state.json", n_bytes=n_bytes) as temporary:
        save_tensors(weights, temporary / "weights.safetensors")
        save_tensors(moments, temporary / "moments.safetensors")
        (temporary / "state.json").write_text(json.dumps(record))


def _moments(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for index, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            yield f"{index}.{name}", torch.as_tensor(value)


def load_checkpoint(folder: Path | None, network: Autoencoder, optimiser: torch.optim.Optimizer) -> TrainingState:
    """The state of an interrupted run, or a fresh one."""
    if folder is not None:
        recover_folder(folder)
    if folder is None or not (folder / "state.json").is_file():
        return TrainingState()
    network.load_state_dict(load_tensors(folder / "weights.safetensors"))
    whole = optimiser.state_dict()
    for key, value in load_tensors(folder / "moments.safetensors").items():
        index, name = key.split(".")
        whole["state"].setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(whole)
    record = json.loads((folder / "state.json").read_text())
    _LOG.info("resuming at step %d", record["step"])
    return TrainingState(record["step"], record["losses"], record["running"])
