"""What crosses between the host and the simulated device, and what makes the host wait for it."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

TO_DEVICE, TO_HOST, WAIT = "copied to the device", "copied to the host", "waited for"
MASKED = {"index", "index_put", "index_put_", "_index_put_impl_"}
WAITING = {
    "_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim",
    "unique_consecutive", "bincount", "repeat_interleave", "histc", "masked_scatter_",
}  # fmt: skip
"""Operations whose result or whose shape the host has to know: CUDA finishes all work before."""


class Event(NamedTuple):
    """One copy or one wait: what it was, where in medseg, and how many bytes."""

    kind: str
    operation: str
    place: str
    n_bytes: int


class Traffic:
    """The events since it was made, of all threads."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def count(self, *kinds: str, at: str = "", least_bytes: int = 0) -> int:
        """Events of some kinds (all without) whose place begins with `at`, of so many bytes."""
        return sum(
            (not kinds or e.kind in kinds) and e.place.startswith(at) and e.n_bytes >= least_bytes for e in self.events
        )

    def table(self) -> str:
        """The commonest first, for messages."""
        found = Counter((e.kind, e.operation, e.place) for e in self.events)
        return "\n".join(f"{n:6d} {kind}: {op} at {place}" for (kind, op, place), n in found.most_common())


_LISTENING: list[Traffic] = []
_LOCK = threading.Lock()


def listen(traffic: Traffic) -> None:
    _LISTENING.append(traffic)


def leave(traffic: Traffic) -> None:
    _LISTENING.remove(traffic)


def note(kind: str, operation: str, n_bytes: int = 0) -> None:
    """Add an event to all who listen."""
    if _LISTENING:
        event = Event(kind, operation, _place(), n_bytes)
        with _LOCK:
            for traffic in _LISTENING:
                traffic.events.append(event)


def note_operation(name: str, words: tuple[Any, ...], device_type: str) -> None:
    """Tell of an operation on the device, if the host has to wait for it."""
    if name in WAITING:
        note(WAIT, name)
    elif name in MASKED:
        indices = [index for index in words[1] if isinstance(index, Tensor)]
        masks = [index for index in indices if index.dtype in {torch.bool, torch.uint8}]
        # To read by a mask PyTorch calls `nonzero`, which tells of itself; to write one value is `masked_fill`.
        if masks and name != "index" and words[2].numel() > 1:
            note(WAIT, f"{name} by a mask")
        for index in indices:
            if index.device.type != device_type:
                note(TO_DEVICE, f"{name} by indices of the host", index.nbytes)


def _place() -> str:
    """Module and line of medseg that the call comes from; the backward pass has none."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/medseg/" in path and "/tests/" not in path and "site-packages" not in path:
            return f"{path.rsplit('/medseg/', 1)[1]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"
