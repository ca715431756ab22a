"""Cleanup of label maps: small components, second components, holes, all measured in mm.

What is taken from one label goes to the neighbouring label with which it shares the largest surface in mm2;
nothing becomes a label that it does not touch, and cleaning twice changes nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import fill_voids
import numpy as np
import numpy.typing as npt
from scipy import sparse

Labels = npt.NDArray[np.unsignedinteger]
Integers = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Connectivity = Literal[6, 18, 26]
Spacing = tuple[float, float, float]

SLAB_VOXELS = 4_000_000
"""Voxels that are worked on at once: what is widened to 64 bit, or counted, is not larger than this."""
_AREA_STEPS = 2**20
"""Areas are counted in whole steps of the largest face over this, so that sums and ties are exact."""


def clean(
    labels: Labels,
    spacing_mm: Spacing,
    *,
    min_volume_mm3: float = 0.0,
    max_hole_mm3: float = 0.0,
    keep_largest: Sequence[int] = (),
    connectivity: Connectivity = 6,
) -> Labels:
    """Remove small components of an (I, J, K) label map, then fill its holes; see the two functions below."""
    kept = remove_components(
        labels,
        spacing_mm,
        min_volume_mm3=min_volume_mm3,
        keep_largest=keep_largest,
        connectivity=connectivity,
    )
    return fill_holes(kept, spacing_mm, max_hole_mm3=max_hole_mm3)


def remove_components(
    labels: Labels,
    spacing_mm: Spacing,
    *,
    min_volume_mm3: float = 0.0,
    keep_largest: Sequence[int] = (),
    connectivity: Connectivity = 6,
) -> Labels:
    """Give components to their neighbours when they are small, or not the largest of their label.

    Components that touch only each other go to the label that reaches them first; those with no label around
    become background. Of equal surfaces the lower label wins, of equal components the first in the volume.

    Args:
        labels: (I, J, K) uint8 or uint16, 0 is background.
        spacing_mm: distance of voxel centres along i, j, k.
        min_volume_mm3: components below it go.
        keep_largest: labels of which only the largest component stays.
        connectivity: which voxels are one component: 6 by faces, 18 and edges, 26 and corners.

    Returns:
        (I, J, K) of the same type; the input is not changed.
    """
    _check(labels, spacing_mm, min_volume_mm3)
    if connectivity not in (6, 18, 26):
        raise ValueError(f"connectivity must be 6, 18 or 26, found {connectivity}")
    if min_volume_mm3 == 0 and not keep_largest:
        return labels.copy()
    components, n = cc3d.connected_components(labels, connectivity=connectivity, return_N=True)
    sizes = count_values(components, n + 1)
    number = np.zeros(n + 1, dtype=labels.dtype)
    for slab in _slabs(labels.shape):
        number[components[slab]] = labels[slab]
    gone = sizes < min_volume_mm3 / math.prod(spacing_mm)
    for label in keep_largest:
        own = np.flatnonzero(number == label)
        gone[own[own != own[sizes[own].argmax()]] if own.size else own] = True
    gone[number == 0] = False
    return _give_away(_Regions(components, number, gone), spacing_mm) if gone.any() else labels.copy()


def fill_holes(labels: Labels, spacing_mm: Spacing, *, max_hole_mm3: float = math.inf) -> Labels:
    """Give background that labels enclose on all sides to the label around it, up to a volume.

    Background is connected by faces; what touches the border of the volume is no hole.

    Returns:
        (I, J, K) of the same type; the input is not changed.
    """
    _check(labels, spacing_mm, max_hole_mm3)
    if max_hole_mm3 == 0:
        return labels.copy()
    background = labels == 0
    holes = np.ascontiguousarray(fill_voids.fill(~background)) & background
    if not holes.any():
        return labels.copy()
    nodes, n = cc3d.connected_components(holes, connectivity=6, return_N=True, out_dtype=np.uint32)
    sizes = count_values(nodes, n + 1)
    # The holes are the regions 1..n, every label behind them is one region, and so is the outer background.
    for slab in _slabs(labels.shape):
        nodes[slab] = np.where(holes[slab], nodes[slab], labels[slab].astype(np.uint32) + np.uint32(n + 1))
    number = np.concatenate([np.zeros(n + 1, dtype=np.int64), np.arange(int(labels.max()) + 1)])
    gone = np.zeros(len(number), dtype=np.bool_)
    gone[1 : n + 1] = sizes[1:] <= max_hole_mm3 / math.prod(spacing_mm)
    return _give_away(_Regions(nodes, number.astype(labels.dtype), gone), spacing_mm)


def count_values(values: Integers, n_values: int) -> Integers:
    """How often 0..n_values - 1 occur in an (I, J, K) volume; slab by slab, because counting widens to 64 bit."""
    counts = np.zeros(n_values, dtype=np.int64)
    for slab in _slabs(values.shape):
        counts += np.bincount(values[slab].ravel(order="K"), minlength=n_values)
    return counts


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices along the first axis of about `SLAB_VOXELS` voxels."""
    planes = max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], planes):
        yield slice(start, start + planes)


def _check(labels: Labels, spacing_mm: Spacing, volume_mm3: float) -> None:
    if labels.ndim != 3 or labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected an (I, J, K) label map of uint8 or uint16, found {labels.shape} {labels.dtype}")
    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        raise ValueError(f"spacing_mm must be three positive numbers, found {spacing_mm}")
    if not volume_mm3 >= 0:
        raise ValueError(f"a volume must be at least 0 mm3, found {volume_mm3}")


@dataclass(frozen=True, eq=False)
class _Regions:
    """A volume cut into regions of one label each.

    Attributes:
        nodes: (I, J, K) the region of each voxel.
        number: (N,) the label of each region.
        gone: (N,) whether the region is to be given away.
    """

    nodes: Integers
    number: Labels
    gone: Mask


def _give_away(regions: _Regions, spacing_mm: Spacing) -> Labels:
    """The label map in which each region that is gone has the label of its neighbours.

    Works on the graph of regions: in each round the regions that touch a region with a label take the label
    of the largest common surface, so the cost of a round falls with the regions that are left.
    """
    one, other, area = _surfaces(regions, spacing_mm)
    number = np.where(regions.gone, 0, regions.number)
    while one.size:
        forth, back = (number[one] == 0) & (number[other] > 0), (number[other] == 0) & (number[one] > 0)
        takers = np.concatenate([one[forth], other[back]])
        offers = number[np.concatenate([other[forth], one[back]])]
        if not takers.size:
            break
        votes = sparse.coo_array(
            (np.concatenate([area[forth], area[back]]), (takers, offers)), shape=(len(number), int(offers.max()) + 1)
        )
        _take_largest(votes.tocsr(), number)
        left = (number[one] == 0) | (number[other] == 0)
        one, other, area = one[left], other[left], area[left]
    number = number.astype(regions.number.dtype)
    labels = np.empty(regions.nodes.shape, dtype=number.dtype, order="F" if regions.nodes.flags.f_contiguous else "C")
    for slab in _slabs(labels.shape):
        labels[slab] = number[regions.nodes[slab]]
    return labels


def _take_largest(votes: sparse.csr_array, number: Labels) -> None:
    """Write the winner of each row of (N, labels) `votes` into `number`; rows without votes stay."""
    voted = np.flatnonzero(np.diff(votes.indptr))
    starts = votes.indptr[voted]
    largest = np.repeat(np.maximum.reduceat(votes.data, starts), np.diff(votes.indptr)[voted])
    candidates = np.where(votes.data == largest, votes.indices, votes.shape[1])
    number[voted] = np.minimum.reduceat(candidates, starts)


def _surfaces(regions: _Regions, spacing_mm: Spacing) -> tuple[Integers, Integers, Integers]:
    """Pairs of regions, one of them gone and none plain background, and their common surface.

    A pair may occur more than once, then its surface is the sum.
    """
    areas = 1 / np.asarray(spacing_mm)
    steps = np.rint(areas / areas.max() * _AREA_STEPS).astype(np.int64)
    # 0 background, 1 stays, 2 gone: the product of two is at least 2 where a surface counts.
    role = np.where(regions.gone, np.uint8(2), regions.number > 0).astype(np.uint8)
    found = []
    for axis, low, high in _faces(regions.nodes, role):
        pairs = sparse.coo_array((np.full(len(low), steps[axis]), (low, high)), shape=(len(role), len(role)))
        pairs.sum_duplicates()
        found.append((*pairs.coords, pairs.data))
    one, other, area = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one, other, area


def _faces(nodes: Integers, role: npt.NDArray[np.uint8]) -> Iterator[tuple[int, Integers, Integers]]:
    """Axis and the two regions of each voxel face between regions with a common surface, slab by slab."""
    planes = max(1, SLAB_VOXELS // (nodes.shape[1] * nodes.shape[2]))
    for start in range(0, nodes.shape[0], planes):
        slab = nodes[start : start + planes + 1]
        roles = role[slab]
        for axis in range(3):
            # The last plane belongs to the next slab, here it only ends the faces across the first axis.
            stop = None if axis == 0 else planes
            low = tuple(slice(0, -1) if a == axis else slice(0, stop if a == 0 else None) for a in range(3))
            high = tuple(slice(1, None) if a == axis else slice(0, stop if a == 0 else None) for a in range(3))
            common = (slab[low] != slab[high]) & (roles[low] * roles[high] >= 2)
            yield axis, slab[low][common], slab[high][common]
