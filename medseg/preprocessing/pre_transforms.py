"""A user's own array transforms, applied to every scan on its own grid before anything that medseg does to it.

They are Python code, which a model folder does not hold: a model keeps their names, and asks for them again when it
is to segment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.errors import ConfigError, InputError
from medseg.spatial.geometry import Geometry

ArrayTransform = Callable[[MetaTensor], Any]
"""(C, I, J, K) image -> the same shape on the same grid, as tensor or array; a MONAI array transform is one."""


@dataclass(frozen=True)
class PreTransforms:
    """What a user does to each scan first.

    Attributes:
        names: of the transforms that the model was fitted with, in their order.
        code: the transforms themselves; empty in a model that was loaded without them.
    """

    names: tuple[str, ...] = ()
    code: tuple[ArrayTransform, ...] = ()

    @classmethod
    def of(cls, transforms: Sequence[ArrayTransform]) -> PreTransforms:
        """Named after their functions or classes."""
        return cls(tuple(getattr(one, "__name__", type(one).__name__) for one in transforms), tuple(transforms))

    def with_code(self, transforms: Sequence[ArrayTransform]) -> PreTransforms:
        """The same names and the code to them.

        Raises:
            ConfigError: transforms of other names, or in another order.
        """
        given = PreTransforms.of(transforms)
        if transforms and given.names != self.names:
            raise ConfigError(f"pre_transforms=[...]: found {_listed(given.names)}, expected {_listed(self.names)}, "
                              "with which the model was fitted; give the same")  # fmt: skip
        return given if transforms else self

    def check(self) -> None:
        """Refuse to go on without the code.

        Raises:
            ConfigError: the model was fitted with transforms that are not given.
        """
        if self.names and not self.code:
            raise ConfigError(
                f"the model was fitted with own transforms before ours, expected {_listed(self.names)}, found none; "
                "load it in Python by Model.load(folder, pre_transforms=[...])"
            )

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """The (C, I, J, K) image after all of them, float32 on the same grid; the one given stays as it is.

        Raises:
            ConfigError: a transform changes shape or grid; or the code is missing.
            InputError: ``own_transform``, a transform makes values of this scan that are not finite.
        """
        self.check()
        found = image.clone() if self.code else image
        for name, transform in zip(self.names, self.code, strict=False):
            found = _checked(transform(found), image, name)
        return found


def _checked(result: Any, image: MetaTensor, name: str) -> MetaTensor:
    shape, grid = tuple(np.shape(result)), Geometry.of(image)
    if shape != tuple(image.shape):
        raise ConfigError(f"own transform {name}: found the shape {shape}, expected {tuple(image.shape)}; it must keep "
                          "the scan's grid")  # fmt: skip
    if isinstance(result, MetaTensor) and not Geometry.of(result).is_close(grid):
        raise ConfigError(f"own transform {name}: found {Geometry.of(result)}, expected {grid}; it must keep the "
                          "scan's grid")  # fmt: skip
    voxels = result.as_tensor() if isinstance(result, MetaTensor) else torch.as_tensor(result)
    if not bool(torch.isfinite(voxels).all()):
        raise InputError(f"own transform {name}: found values that are not finite, expected numbers; correct it or "
                         "leave the scan out", code="own_transform")  # fmt: skip
    return MetaTensor(voxels.float(), affine=torch.from_numpy(grid.affine.copy()))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
