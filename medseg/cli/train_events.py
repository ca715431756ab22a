"""TensorBoard event files of a training, an extra: `pip install medseg[tensorboard]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.errors import ConfigError


class Events:
    """Writes the loss of every step to a folder that TensorBoard reads; without a folder, nothing.

    Raises:
        ConfigError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path | None) -> None:
        self.writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise ConfigError(
                "--tensorboard: found no TensorBoard, expected the extra; pip install medseg[tensorboard]"
            ) from None
        try:
            self.writer = SummaryWriter(str(folder), max_queue=100)
        except OSError as error:
            raise ConfigError(f"--tensorboard {folder}: cannot be written ({error.strerror})") from None

    def loss(self, step: int, value: float) -> None:
        """Note the loss of one step."""
        if self.writer is not None:
            self.writer.add_scalar("training/loss", value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
