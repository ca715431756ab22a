"""Values continued a few voxels beyond the foreground, so that its border does not mix with the outside."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import sparse

CONTINUED_VOXELS = 4
"""Working voxels by which results are continued beyond the foreground, for the native voxels at its border."""
_CHANNELS = 8
"""That are continued at a time."""
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


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
    border = np.flatnonzero(_grown(~known) & known)
    layers = _layers(known, border)
    places = np.concatenate([border, *[places for places, _ in layers]])
    for start in range(0, len(into), _CHANNELS):
        some = into[start : start + _CHANNELS]
        values = np.zeros((len(places), len(some)), dtype=np.float32)
        values[: len(border)] = some[:, border].T
        at = len(border)
        for _, means in layers:
            values[at : at + means.shape[0]] = means @ values[:at]
            at += means.shape[0]
        for channel, column in zip(some, values[len(border) :].T, strict=True):
            channel[places[len(border) :]] = column


def _layers(known: Mask, border: Places) -> list[tuple[Places, sparse.csr_matrix]]:
    """The voxels of each layer, and the weights of the border and the layers before in their means.

    Args:
        known: (I, J, K) foreground; changed.
    """
    number = np.full(known.size, -1, dtype=np.int32)
    number[border] = np.arange(len(border))
    n_before, found = len(border), []
    for _ in range(CONTINUED_VOXELS):
        places = np.flatnonzero(_grown(known) & ~known)
        rows, columns = _known_neighbours(places, known, number)
        count = np.bincount(rows, minlength=len(places))
        means = sparse.csr_matrix(((1 / count[rows]).astype(np.float32), (rows, columns)), (len(places), n_before))
        found.append((places, means))
        number[places] = np.arange(n_before, n_before + len(places))
        known.ravel()[places] = True
        n_before += len(places)
    return found


def _known_neighbours(places: Places, known: Mask, number: npt.NDArray[np.int32]) -> tuple[Places, Places]:
    """Pairs of a voxel, by its position in `places`, and one of its 6 neighbours that are known, by its number."""
    rows, columns = [], []
    strides = known.shape[1] * known.shape[2], known.shape[2], 1
    for sign, axis in product((1, -1), range(3)):
        along = places // strides[axis] % known.shape[axis]
        is_within = along != (known.shape[axis] - 1 if sign > 0 else 0)
        neighbour = np.where(is_within, places + sign * strides[axis], places)  # the voxel itself is not known
        is_known = known.ravel()[neighbour]
        rows.append(np.flatnonzero(is_known))
        columns.append(number[neighbour[is_known]].astype(np.int64))
    return np.concatenate(rows), np.concatenate(columns)


def _grown(mask: Mask) -> Mask:
    """A mask and its 6 neighbours."""
    grown = mask.copy()
    for axis in range(3):
        along, before = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
    return grown
