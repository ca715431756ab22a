"""Native grids slab by slab: what needs several values a voxel never exists for a whole scan at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from medseg.geometry import Geometry

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def filled_slabs(
    geometry: Geometry, inside: npt.NDArray[np.generic], values_each: int, most_values: int
) -> Iterator[tuple[slice, Geometry]]:
    """Slabs across the k axis from the first plane with anything in (I, J, K) `inside` to the last.

    Args:
        values_each: values that a voxel needs.
        most_values: values in a slab, one plane at least.

    Yields:
        The planes and their grid.
    """
    filled = np.flatnonzero(inside.any(axis=(0, 1)))
    if not filled.size:
        return
    planes = max(1, most_values // (values_each * geometry.shape[0] * geometry.shape[1]))
    for start in range(int(filled[0]), int(filled[-1]) + 1, planes):
        stop = min(start + planes, int(filled[-1]) + 1)
        yield slice(start, stop), geometry.crop((0, 0, start), (*geometry.shape[:2], stop - start))


def look_up(lookup: npt.NDArray[np.integer], labels: Labels) -> Labels:
    """`lookup` of every voxel, plane by plane: indexing widens to eight bytes a voxel."""
    found, narrow = np.empty_like(labels), lookup.astype(labels.dtype)
    for plane, source_plane in zip(found, labels, strict=True):
        plane[...] = narrow[source_plane]
    return found
