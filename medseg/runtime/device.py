"""Where computing happens, and how it is made repeatable."""

from __future__ import annotations

import torch

from medseg.config import TrainingConfig
from medseg.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes a CUDA device when there is one, else the CPU.

    Raises:
        ConfigError: a device that this machine or this PyTorch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"--device {name}: not available here; take auto, cpu or, with a GPU, cuda") from None
    return device


def memory_gb(device: torch.device) -> float:
    """Memory of a CUDA device; 0 for the CPU."""
    return torch.cuda.get_device_properties(device).total_memory / 1e9 if device.type == "cuda" else 0.0


def seed_everything(config: TrainingConfig) -> None:
    """Seed PyTorch, and ask it for repeatable kernels when the config wants them."""
    torch.manual_seed(config.seed)
    repeatable(config.deterministic)


def repeatable(wanted: bool) -> None:
    """Ask PyTorch for kernels that give the same bytes every time, or leave it the choice."""
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = not wanted
