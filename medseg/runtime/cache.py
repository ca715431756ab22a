"""Arrays of a whole cohort: in memory up to a bound, in temporary files beyond it.

The files have no name (they are unlinked as they are made), so nothing of a scan is left behind, whatever ends the
process; the kernel keeps in memory what is used and there is room for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.runtime.disk import reserve, writing_to

Anything = TypeVar("Anything", bound=np.generic)
Made = TypeVar("Made")


class Store:
    """Keeps arrays; what is kept is used as ever, wherever it lies.

    Args:
        max_bytes: how much is kept in memory; None: everything.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._made: dict[tuple[int, Hashable], tuple[Tensor, Any]] = {}

    def array(self, values: npt.NDArray[Anything]) -> npt.NDArray[Anything]:
        """The same values, to be used instead of `values`.

        Raises:
            OutputError: the folder for temporary files has no room for them.
        """
        self.n_bytes += values.nbytes
        if self.max_bytes is None or self.n_bytes <= self.max_bytes or not values.nbytes:
            return values
        self.n_bytes -= values.nbytes
        folder = Path(tempfile.gettempdir())
        with writing_to(folder, values.nbytes), tempfile.TemporaryFile(prefix="medseg-", dir=folder) as file:
            reserve(file.fileno(), values.nbytes)
            kept: npt.NDArray[Any] = np.memmap(file, dtype=values.dtype, mode="w+", shape=values.shape)
        kept[...] = values
        return kept

    def once(self, image: Tensor, what: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, for each image and `what` made the first time only; `make` keeps its arrays here."""
        key = (id(image), what)
        if key not in self._made:
            self._made[key] = image, make()  # with the image, so that no other one gets its id
        made: Made = self._made[key][1]
        return made

    def tensor(self, values: Tensor) -> Tensor:
        """The same values on the CPU, to be used instead of `values`."""
        return torch.from_numpy(self.array(values.cpu().numpy()))

    def image(self, image: MetaTensor) -> MetaTensor:
        """The same image, to be used instead of `image`."""
        return MetaTensor(self.tensor(image.as_tensor()), affine=image.affine)
