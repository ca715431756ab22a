"""Native grids slab by slab: what needs several values a voxel never exists for a whole scan at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from medseg.spatial.geometry import Geometry

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Place = tuple[slice, slice, slice]


def filled_slabs(
    geometry: Geometry, inside: npt.NDArray[np.generic], values_each: int, most_values: int
) -> Iterator[tuple[Place, Geometry]]:
    """Slabs across the k axis of the smallest box around everything in (I, J, K) `inside`.

    Args:
        values_each: values that a voxel needs.
        most_values: values in a slab, one plane at least.

    Yields:
        Where the slab lies, and its grid.
    """
    filled = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not filled[0].size:
        return
    first, stop = [int(part[0]) for part in filled], [int(part[-1]) + 1 for part in filled]
    shape = [b - a for a, b in zip(first, stop, strict=True)]
    planes = max(1, most_values // (values_each * shape[0] * shape[1]))
    for start in range(first[2], stop[2], planes):
        end = min(start + planes, stop[2])
        place = (slice(first[0], stop[0]), slice(first[1], stop[1]), slice(start, end))
        yield place, geometry.crop((first[0], first[1], start), (shape[0], shape[1], end - start))


def look_up(lookup: npt.NDArray[np.integer], labels: Labels) -> Labels:
    """`lookup` of every voxel, plane by plane: indexing widens to eight bytes a voxel."""
    found, narrow = np.empty_like(labels), lookup.astype(labels.dtype)
    for plane, source_plane in zip(found, labels, strict=True):
        plane[...] = narrow[source_plane]
    return found
