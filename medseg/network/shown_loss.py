"""The loss that a progress bar shows."""

from __future__ import annotations

from torch import Tensor

_EVERY = 10
"""Steps after which a GPU is asked again: it has to finish all its work before it can tell a number."""


class ShownLoss:
    """The loss of a step as a number; on a GPU that of the last step which it was asked for."""

    def __init__(self) -> None:
        self._n_steps = 0
        self._last = 0.0

    def told(self, loss: Tensor) -> float:
        """Of a () tensor; called once a step."""
        if loss.device.type == "cpu" or self._n_steps % _EVERY == 0:
            self._last = float(loss)
        self._n_steps += 1
        return self._last
