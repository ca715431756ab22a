"""Values continued a few voxels beyond the foreground, so that its border does not mix with the outside."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

CONTINUED_VOXELS = 4
"""Working voxels by which results are continued beyond the foreground, for the native voxels at its border."""


def continued(image: MetaTensor, foreground: MetaTensor) -> MetaTensor:
    """(C, I, J, K) continued a few voxels beyond the foreground, so that its border does not mix with the outside."""
    voxels = image.as_tensor().cpu().clone()
    continue_beyond(voxels, foreground.as_tensor()[0])
    return MetaTensor(voxels, affine=image.affine)


def continue_beyond(voxels: torch.Tensor, inside: torch.Tensor) -> None:
    """Continue (C, I, J, K) voxels, in place, `CONTINUED_VOXELS` beyond the (I, J, K) foreground of 0 and 1.

    Layer by layer, each voxel is the mean of its 6 neighbours in the foreground and in the layers before; 0 beyond.
    """
    known = inside.cpu().numpy() > 0
    into = voxels.numpy().reshape(len(voxels), -1)
    outside = ~known.ravel()
    for channel in into:
        channel[outside] = 0
    strides = known.shape[1] * known.shape[2], known.shape[2], 1
    for _ in range(CONTINUED_VOXELS):
        layer = np.flatnonzero(_grown(known) & ~known)
        total, count = np.zeros((len(into), len(layer)), dtype=np.float32), np.zeros(len(layer), dtype=np.float32)
        along = [layer // stride % size for stride, size in zip(strides, known.shape, strict=True)]
        for sign, axis in product((1, -1), range(3)):
            at_end = along[axis] == (known.shape[axis] - 1 if sign > 0 else 0)
            neighbour = np.where(at_end, layer, layer + sign * strides[axis])  # the voxel itself is not known
            is_known = known.ravel()[neighbour]
            count += is_known
            for number, channel in enumerate(into):
                total[number] += channel[neighbour] * is_known
        for channel, values in zip(into, total, strict=True):
            channel[layer] = values / count
        known.ravel()[layer] = True


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask and its 6 neighbours."""
    grown = mask.copy()
    for axis in range(3):
        along, before = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
    return grown
