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
from medseg.report.display import confidence_at, known_confidence, labels_at, to_grey, window_of
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
_THICK = 2.0
"""How many times as far apart slices are as voxels within them, for their plane to be shown first."""
_SHAPE = (len(_AXES), N_SLICES, TILE, TILE)
_PARTS = ("axes", "places", "grey", "labels", "confidence")


@dataclass(frozen=True)
class Slices:
    """Slices across the three axes of a scan, as radiologists look at them: (3, N_SLICES, TILE, TILE) each.

    Attributes:
        grid: isotropic grid around the labelled voxels, along the scan's own axes in RAS order, nowhere beyond the
            scan; one voxel is one pixel.
        axes: (3,) axis of `grid` that each row is across, 2 for axial; the plane of thick slices comes first.
        places: (3, N_SLICES) where each slice lies along that axis, in voxels of `grid`: on a slice of the scan.
        grey: 0..255 over the scan's window.
        labels: label numbers, 0 without label.
        confidence: 1..255 where there is a label; 0 elsewhere, and everywhere when it is not known.
    """

    grid: Geometry
    axes: npt.NDArray[np.int64]
    places: npt.NDArray[np.float64]
    grey: Pixels
    labels: Numbers
    confidence: Pixels

    @property
    def knows_confidence(self) -> bool:
        """Whether there is any confidence."""
        return bool(self.confidence.any())

    def planes(self) -> Iterator[tuple[int, Geometry]]:
        """Axis and grid, one voxel thick, of every slice."""
        for axis, places in zip(self.axes.tolist(), self.places, strict=True):
            for place in places:
                start, shape = np.zeros(3), list(self.grid.shape)
                start[axis], shape[axis] = place, 1
                affine = self.grid.affine.copy()
                affine[:3, 3] = self.grid.to_world([start])[0]
                yield axis, Geometry((shape[0], shape[1], shape[2]), affine)

    def sampled(self, sample: Callable[[Geometry], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """(3, N_SLICES, TILE, TILE) values that `sample` finds on the grid of each slice."""
        return np.stack([_tile(sample(plane), axis) for axis, plane in self.planes()]).reshape(_SHAPE)


def cut_slices(image: MetaTensor, result: Segmentation) -> Slices:
    """The slices of a (1, I, J, K) image, evenly between the first and the last labelled one along each axis."""
    window, known = window_of(image, result.labels), known_confidence(result)
    slices = with_labels_of(blank_slices(result.labels, result.geometry), result)
    slices = replace(slices, grey=slices.sampled(lambda plane: to_grey(resample(image, plane), window)))
    if known is None:
        return slices

    native, labels = result.geometry, result.labels
    sure = slices.sampled(lambda plane: confidence_at(plane, known, labels_at(plane, labels, native) > 0))
    return replace(slices, confidence=sure)


def blank_slices(labels: LabelArray, geometry: Geometry, margin_mm: float = 0.0) -> Slices:
    """Where the slices around the labelled voxels lie, with nothing on them yet.

    Args:
        margin_mm: around the labels beside two voxels, as far as the scan reaches.
    """
    empty = np.zeros(_SHAPE, np.uint8)
    return Slices(*_display(labels, geometry, margin_mm), empty, empty, empty)


def with_labels_of(slices: Slices, result: Segmentation) -> Slices:
    """The same slices with the labels of `result`, of the same scan."""
    labels = slices.sampled(lambda plane: labels_at(plane, result.labels, result.geometry))
    return replace(slices, labels=labels if labels.max() > 255 else labels.astype(np.uint8))


def write_slices(slices: Slices, path: Path) -> None:
    """Write the ``.npz`` file of a scan."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, shape=np.array(slices.grid.shape), affine=slices.grid.affine, axes=slices.axes,
            places=slices.places, grey=slices.grey, labels=slices.labels, confidence=slices.confidence,
        )  # fmt: skip


def read_slices(path: Path) -> Slices | None:
    """What `write_slices` wrote; None when there is no such file, or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            grid = Geometry(cast(tuple[int, int, int], tuple(found["shape"])), found["affine"])
            slices = Slices(grid, *(found[name] for name in _PARTS))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return slices if _is_sound(slices) else None


def _is_sound(slices: Slices) -> bool:
    parts: tuple[tuple[npt.NDArray[Any], tuple[int, ...], tuple[str, ...]], ...] = (
        (slices.axes, (len(_AXES),), ("int64",)),
        (slices.places, (len(_AXES), N_SLICES), ("float64",)),
        (slices.grey, _SHAPE, ("uint8",)),
        (slices.labels, _SHAPE, ("uint8", "uint16")),
        (slices.confidence, _SHAPE, ("uint8",)),
    )
    if not all(part.shape == shape and part.dtype.name in kinds for part, shape, kinds in parts):
        return False
    return sorted(slices.axes.tolist()) == sorted(_AXES) and bool(np.isfinite(slices.places).all())


def _display(
    labels: LabelArray, geometry: Geometry, margin_mm: float
) -> tuple[Geometry, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Grid, axes and places of `Slices`: at most TILE voxels along an axis, on no voxel that the scan has not."""
    ras = geometry.in_ras_order()
    spacing = np.asarray(ras.spacing_mm)
    first, last = np.array([_filled(labels, geometry, axis) for axis in range(3)]).T
    margin = 2 + np.ceil(margin_mm / spacing).astype(int)
    low, high = np.maximum(first - margin, 0), np.minimum(last + margin, np.asarray(ras.shape) - 1)
    extent = np.maximum((high - low) * spacing, 1e-3)
    step = max(float(extent.max()) / (TILE - 1), float(spacing.min()) * 0.5)
    affine = ras.affine @ np.diag([*(step / spacing), 1.0])
    affine[:3, 3] = ras.to_world([low])[0]
    shape = np.floor(extent / step + 1e-6).astype(int) + 1
    shares = np.arange(1, N_SLICES + 1) / (N_SLICES + 1)
    places = (np.rint(first + shares[:, None] * (last - first)) - low) * spacing / step
    thick = int(spacing.argmax())
    is_thick = spacing[thick] > _THICK * np.sort(spacing)[1]
    axes = sorted(_AXES, key=lambda axis: axis != thick) if is_thick else list(_AXES)
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine), np.array(axes), places.T[axes]


def _filled(labels: LabelArray, geometry: Geometry, axis: int) -> tuple[int, int]:
    """First and last labelled voxel along an axis of the grid in RAS order; all of it without labels."""
    own, size = geometry.ras_axes.index(axis), geometry.in_ras_order().shape[axis]
    filled = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {own})))
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, size - 1)
    runs_down = geometry.affine[:3, own] @ geometry.in_ras_order().affine[:3, axis] < 0
    return (size - 1 - last, size - 1 - first) if runs_down else (first, last)


def _tile(plane: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """A volume one voxel thick along `axis` as an upright square, in the middle of zeros."""
    shown = upright(plane.squeeze(axis))
    tile = np.zeros((TILE, TILE), dtype=plane.dtype)
    height, width = min(TILE, shown.shape[0]), min(TILE, shown.shape[1])
    top, left = (TILE - height) // 2, (TILE - width) // 2
    tile[top : top + height, left : left + width] = shown[:height, :width]
    return tile
