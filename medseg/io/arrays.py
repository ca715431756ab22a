"""Files of tensors (safetensors) read without PyTorch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load


def load_arrays(path: Path, digest: str | None = None) -> dict[str, npt.NDArray[Any]]:
    """Read a file that `medseg.io.tensors.save_tensors` wrote.

    Args:
        digest: its SHA-256, where it is known.

    Raises:
        OSError: the file cannot be read.
        ValueError: its bytes are others, it is no file of tensors, or it holds a number that is not finite.
    """
    content = path.read_bytes()
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("other bytes than were written")
    try:
        arrays = load(content)
    except Exception as error:  # the library's own error is no ValueError, and others come from damaged headers
        raise ValueError(f"no file of tensors ({type(error).__name__})") from None
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("numbers that are not finite")
    return arrays
