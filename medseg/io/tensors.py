"""Files of tensors (safetensors): readable by whom the folder is, and known by a digest of every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from medseg.io.arrays import load_arrays


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write a file; returns its SHA-256.

    The library's own function leaves files that only their owner can read.
    """
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_tensors(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Read a file.

    Args:
        digest: its SHA-256, where it is known.

    Raises:
        OSError: the file cannot be read.
        ValueError: its bytes are others, it is no file of tensors, or it holds a number that is not finite.
    """
    return {name: torch.from_numpy(array) for name, array in load_arrays(path, digest).items()}
