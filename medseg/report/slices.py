"""The slices of a scan that its pictures show, as numbers: kept in a small file, so that pictures are drawn from data.

The file of a scan lies in ``OUT/report/slices``. Names, colours and merges of labels change the pictures without the
scan: the grey values are kept, and labels are sampled again at the same places.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import whole_file
from medseg.model.segmentation import LabelArray, Segmentation
from medseg.report.display import confidence_at, known_confidence, labels_at, outside_of, to_grey, window_of
from medseg.report.render import Numbers, Pixels, upright
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

FOLDER = "slices"
N_SLICES = 4
"""Slices along each axis."""
TILE = 176
"""Pixels along both axes of a slice."""
_AXES = (2, 1, 0)
"""Axial, coronal, sagittal."""
_SHAPE = (len(_AXES), N_SLICES, TILE, TILE)


@dataclass(frozen=True)
class Slices:
    """Axial, coronal and sagittal slices, as radiologists look at them: (3, N_SLICES, TILE, TILE) each.

    Attributes:
        grid: isotropic RAS grid around the labelled voxels; one voxel is one pixel.
        indices: (3, N_SLICES) place of each slice along its axis of `grid`.
        grey: 0..255 over the scan's window.
        labels: label numbers, 0 without label.
        confidence: 1..255 where there is a label; 0 elsewhere, and everywhere when it is not known.
    """

    grid: Geometry
    indices: npt.NDArray[np.int64]
    grey: Pixels
    labels: Numbers
    confidence: Pixels

    @property
    def knows_confidence(self) -> bool:
        """Whether there is any confidence."""
        return bool(self.confidence.any())

    def planes(self) -> Iterator[tuple[int, Geometry]]:
        """Axis and grid, one voxel thick, of every slice."""
        for axis, indices in zip(_AXES, self.indices, strict=True):
            for index in indices:
                start, shape = [0, 0, 0], list(self.grid.shape)
                start[axis], shape[axis] = int(index), 1
                yield axis, self.grid.crop(start, shape)

    def sampled(self, sample: Callable[[Geometry], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """(3, N_SLICES, TILE, TILE) values that `sample` finds on the grid of each slice."""
        return np.stack([_tile(sample(plane), axis) for axis, plane in self.planes()]).reshape(_SHAPE)


def cut_slices(image: MetaTensor, result: Segmentation) -> Slices:
    """The slices of a (1, I, J, K) image, evenly between the first and the last labelled one along each axis."""
    grid, window = display_grid(result.labels, result.geometry), window_of(image, result.labels)
    known, native, labels = known_confidence(result), result.geometry, result.labels
    indices = slice_indices((labels_at(grid, labels, native) > 0) & ~outside_of(grid, native))
    empty = np.zeros(_SHAPE, np.uint8)
    slices = with_labels_of(Slices(grid, indices, empty, empty, empty), result)
    grey = slices.sampled(lambda plane: to_grey(resample(image, plane), window) * ~outside_of(plane, native))
    slices = replace(slices, grey=grey)
    if known is None:
        return slices

    def sample(plane: Geometry) -> Pixels:
        return confidence_at(plane, known, (labels_at(plane, labels, native) > 0) & ~outside_of(plane, native))

    sure = slices.sampled(sample)
    return replace(slices, confidence=sure)


def with_labels_of(slices: Slices, result: Segmentation) -> Slices:
    """The same slices with the labels of `result`, of the same scan."""
    native = result.geometry
    labels = slices.sampled(lambda plane: labels_at(plane, result.labels, native) * ~outside_of(plane, native))
    return replace(slices, labels=labels if labels.max() > 255 else labels.astype(np.uint8))


def write_slices(slices: Slices, path: Path) -> None:
    """Write the ``.npz`` file of a scan."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, shape=np.array(slices.grid.shape), affine=slices.grid.affine, indices=slices.indices,
            grey=slices.grey, labels=slices.labels, confidence=slices.confidence,
        )  # fmt: skip


def read_slices(path: Path) -> Slices | None:
    """What `write_slices` wrote; None when there is no such file, or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            grid = Geometry(cast(tuple[int, int, int], tuple(found["shape"])), found["affine"])
            slices = Slices(grid, found["indices"], found["grey"], found["labels"], found["confidence"])
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return slices if _is_sound(slices) else None


def _is_sound(slices: Slices) -> bool:
    parts: tuple[tuple[npt.NDArray[Any], tuple[int, ...], tuple[str, ...]], ...] = (
        (slices.indices, (len(_AXES), N_SLICES), ("int64",)),
        (slices.grey, _SHAPE, ("uint8",)),
        (slices.labels, _SHAPE, ("uint8", "uint16")),
        (slices.confidence, _SHAPE, ("uint8",)),
    )
    return all(part.shape == shape and part.dtype.name in kinds for part, shape, kinds in parts)


def display_grid(labels: LabelArray, native: Geometry, margin_mm: float = 0.0) -> Geometry:
    """An isotropic RAS grid around the labelled voxels, at most TILE voxels along an axis.

    Args:
        margin_mm: around the labels beside two voxels; it may reach beyond the field of view.
    """
    axes = [np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not axes[0].size:
        axes = [np.arange(n) for n in labels.shape]
    low, high = (np.array([axis[end] for axis in axes]) + step for end, step in ((0, -2), (-1, 2)))
    corners = np.array([[a, b, c] for a in (low[0], high[0]) for b in (low[1], high[1]) for c in (low[2], high[2])])
    world = native.to_world(corners)
    start, extent = world.min(axis=0) - margin_mm, np.maximum(np.ptp(world, axis=0) + 2 * margin_mm, 1e-3)
    step = max(float(extent.max()) / (TILE - 1), min(native.spacing_mm) * 0.5)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = start
    shape = np.floor(extent / step).astype(int) + 1
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def slice_indices(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(3, N_SLICES) places of slices, evenly between the first and the last voxel inside along each axis."""
    return np.array([_indices_along(inside, axis) for axis in _AXES], dtype=np.int64)


def _indices_along(inside: npt.NDArray[np.bool_], axis: int) -> list[int]:
    filled = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
    first, last = (filled[0], filled[-1]) if filled.size else (0, inside.shape[axis] - 1)
    return [int(first + (last - first) * (n + 1) / (N_SLICES + 1)) for n in range(N_SLICES)]


def _tile(plane: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """A volume one voxel thick along `axis` as an upright square, in the middle of zeros."""
    shown = upright(plane.squeeze(axis))
    tile = np.zeros((TILE, TILE), dtype=plane.dtype)
    height, width = min(TILE, shown.shape[0]), min(TILE, shown.shape[1])
    top, left = (TILE - height) // 2, (TILE - width) // 2
    tile[top : top + height, left : left + width] = shown[:height, :width]
    return tile
