"""Where in a scan each label lies, as a few numbers and in words: by the scan's own axes, never by anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.spatial.geometry import Geometry

SAMPLED_VOXELS = 400_000
"""Voxels of the box around all labels that are looked at."""
NAMES = ("left", "right", "back", "front", "bottom", "top", "depth_mm", "depth_of_all_mm")
"""Shares of the label in the outer thirds of the box around all labels; mean depth below the surface of all labels, and
of all labels together."""
Place = Mapping[str, float]
_BEYOND = 0.005
"""Share of the labelled voxels beyond either end of the box: specks do not count."""
_IN_A_THIRD, _IN_THE_MIDDLE = 0.7, 0.75
_TO_A_SIDE = 0.35
"""Difference between the shares of the outer thirds from which a label lies to one side."""
_LEFT_IN_BETWEEN, _ON_EACH_SIDE = 0.2, 0.3
"""Share of the middle third up to which, and of each outer one from which, a label lies on both sides."""
_SHALLOW, _OUTER, _INNER, _DEEP = 0.5, 0.75, 1.3, 1.75
"""Mean depths, as multiples of that of all labels, up to which and from which it is told."""
_AXES = (
    ("bottom", "top", "lower", "upper", "below and above", "at middle height"),
    ("left", "right", "left", "right", "left and right", "between left and right"),
    ("back", "front", "back", "front", "front and back", "between front and back"),
)


def places_of(labels: npt.NDArray[np.unsignedinteger], geometry: Geometry) -> dict[int, dict[str, float]]:
    """`NAMES` of every label of an (I, J, K) label map, by its number.

    Left, front and top are those of patient space (RAS+ mm), whatever the order of the voxels.
    """
    filled = [np.flatnonzero(labels.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not filled[0].size:
        return {}
    extent = np.prod([len(range(a[0], a[-1] + 1)) * s for a, s in zip(filled, geometry.spacing_mm, strict=True)])
    pitch = (extent / SAMPLED_VOXELS) ** (1 / 3)
    steps = [max(1, round(pitch / s)) for s in geometry.spacing_mm]
    every = tuple(slice(int(axis[0]), int(axis[-1]) + 1, step) for axis, step in zip(filled, steps, strict=True))
    sampled = labels[every]
    spacing = np.asarray(geometry.spacing_mm) * steps
    depth = ndimage.distance_transform_edt(np.pad(sampled > 0, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    where = np.argwhere(sampled > 0)
    if not where.size:
        return {}
    world = geometry.to_world(where * steps + [part.start for part in every])
    low, high = np.quantile(world, (_BEYOND, 1 - _BEYOND), axis=0)
    thirds = np.floor(3 * (world - low) / np.maximum(high - low, 1e-6)).clip(0, 2).astype(int)
    # The surface lies half a voxel before the centre of the first one outside.
    return _summed(sampled[sampled > 0].astype(int), thirds, depth[sampled > 0] - spacing.min() / 2)


def _summed(
    numbers: npt.NDArray[np.int64], thirds: npt.NDArray[np.int64], depth: npt.NDArray[np.float64]
) -> dict[int, dict[str, float]]:
    """From the (V,) labels, (V, 3) thirds and (V,) depths of the labelled voxels."""
    counts, depths = np.bincount(numbers), np.bincount(numbers, weights=depth)
    outer = [np.bincount(numbers, weights=thirds[:, axis] == end) for axis in range(3) for end in (0, 2)]
    found = {}
    for number in np.flatnonzero(counts):
        values = [part[number] / counts[number] for part in (*outer, depths)]
        found[int(number)] = dict(zip(NAMES, map(float, (*values, depth.mean())), strict=True))
    return found


def in_words(places: Sequence[Place]) -> str:
    """Where a label lies, from its places in the scans of a cohort; ``throughout`` when it lies everywhere."""
    if not places:
        return ""
    mean = {name: float(np.mean([place[name] for place in places])) for name in NAMES}
    said = [_along(mean[axis[0]], mean[axis[1]], axis) for axis in _AXES]
    if said == [axis[5] for axis in _AXES]:
        said = ["centre"]
    deep = mean["depth_mm"] / max(mean["depth_of_all_mm"], 1e-6)
    far = f"{mean['depth_mm']:.2g} mm deep on average"
    if deep <= _OUTER:
        said.append(f"{'near' if deep <= _SHALLOW else 'towards'} the surface ({far})")
    elif deep >= _INNER:
        said.append(f"{'deep' if deep >= _DEEP else 'towards the'} inside ({far})")
    return ", ".join(part for part in said if part) or "throughout"


def _along(low: float, high: float, axis: tuple[str, ...]) -> str:
    """Words for one axis from the shares of its outer thirds; empty when there is nothing to say."""
    _, _, low_name, high_name, both, middle = axis
    for share, other, name in ((low, high, low_name), (high, low, high_name)):
        if share >= _IN_A_THIRD:
            return f"{name} third"
        if share - other >= _TO_A_SIDE:
            return f"{name} part" if axis[0] == "bottom" else name
    if 1 - low - high <= _LEFT_IN_BETWEEN and min(low, high) >= _ON_EACH_SIDE:
        return both
    return middle if 1 - low - high >= _IN_THE_MIDDLE else ""
