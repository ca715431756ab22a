"""Mosaics: a scan and its labels in three planes as one PNG, for the eye before any number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image, ImageDraw

from medseg.io.atomic import whole_file
from medseg.labels.table import LabelTable
from medseg.model.segmentation import LabelArray, Segmentation
from medseg.report.confidence import LEGEND, confidence_at, known_confidence, painted
from medseg.report.layout import HEADER, LINE, N_SLICES, OPACITY, TILE, kinds_of, read_mosaic, tiles_of
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

Pixels = npt.NDArray[np.uint8]
_NAME = 175
"""Width of a name below the tiles, in pixels."""
_WINDOW_VOXELS, _LEAST_WINDOW_VOXELS = 1_000_000, 1000
"""Voxels of a volume that its window is found from, and the labelled ones that must be among them."""


def write_mosaic(image: MetaTensor, result: Segmentation, path: Path, *, title: str) -> None:
    """Write a PNG: rows axial, coronal, sagittal; each slice plain, with its labels, and with how sure these are.

    Below are the label names, and the colours of the confidence where it is known. The slices lie evenly between the
    first and the last labelled one and are shown as radiologists look at them (patient's right on the left).
    Intensities run over the `window_of` the labelled voxels.
    """
    grid, window, known = _display_grid(result), window_of(image, result.labels), known_confidence(result)
    shown = labels_at(grid, result.labels, result.geometry)
    rows = []
    for axis in (2, 1, 0):
        tiles = []
        for index in _slice_indices(shown, axis):
            plane, labels = _slice_of(grid, axis, index), np.take(shown, index, axis)
            plain = np.take(to_grey(resample(image, plane), window), 0, axis)
            tiles += [_tile(np.repeat(plain[..., None], 3, -1)), _tile(_blend(plain, labels, result.table))]
            if known is not None:
                sure = confidence_at(plane, known, np.expand_dims(labels, axis) > 0)
                tiles.append(_tile(painted(np.take(sure, 0, axis))))
        rows.append(np.concatenate(tiles, axis=1))
    _save(np.concatenate(rows, axis=0), path, result.table, title)


def _save(tiles: Pixels, path: Path, table: LabelTable, title: str) -> None:
    with whole_file(path) as temporary:
        _with_names(Image.fromarray(tiles), table, title).save(temporary, format="PNG", compress_level=2)


def _display_grid(result: Segmentation) -> Geometry:
    """An isotropic RAS grid around the labelled voxels, at most TILE voxels along an axis."""
    axes = [np.flatnonzero(result.labels.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not axes[0].size:
        axes = [np.arange(n) for n in result.labels.shape]
    low, high = (np.array([axis[end] for axis in axes]) + step for end, step in ((0, -2), (-1, 2)))
    corners = np.array([[a, b, c] for a in (low[0], high[0]) for b in (low[1], high[1]) for c in (low[2], high[2])])
    world = result.geometry.to_world(corners)
    start, extent = world.min(axis=0), np.maximum(np.ptp(world, axis=0), 1e-3)
    step = max(float(extent.max()) / (TILE - 1), min(result.geometry.spacing_mm) * 0.5)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = start
    shape = np.floor(extent / step).astype(int) + 1
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def window_of(image: MetaTensor, labels: LabelArray) -> tuple[float, float]:
    """Percentiles 1 and 99.5 of the labelled voxels of a (1, I, J, K) image, of a part of them where they are many.

    Without labels: of all voxels.
    """
    voxels, inside = image.as_tensor()[0].cpu().numpy(), labels > 0
    step = max(1, round((labels.size / _WINDOW_VOXELS) ** (1 / 3)))
    part = (slice(None, None, step),) * 3
    chosen = voxels[part][inside[part]]
    if chosen.size < _LEAST_WINDOW_VOXELS:
        chosen = voxels[inside] if inside.any() else voxels
    low, high = np.percentile(chosen, (1, 99.5))
    return float(low), float(high)


def to_grey(image: MetaTensor, window: tuple[float, float]) -> Pixels:
    """(1, I, J, K) intensities as (I, J, K) of 0..255 over the window."""
    low, high = window
    grey = image.as_tensor()[0].cpu().numpy() - np.float32(low)
    grey *= np.float32(255 / max(high - low, 1e-6))
    return np.asarray(np.clip(grey, 0, 255, out=grey), dtype=np.uint8)


def _blend(grey: Pixels, labels: npt.NDArray[np.int64], table: LabelTable) -> Pixels:
    """(..., 3) RGB with the labels' colours laid over."""
    lookup = np.zeros((int(max([labels.max(), *(x.number for x in table)])) + 1, 3))
    for label in table:
        lookup[label.number] = label.color
    rgb = np.repeat(grey[..., None].astype(np.float32), 3, axis=-1)
    inside = labels > 0
    rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * lookup[labels[inside]]
    return rgb.astype(np.uint8)


def _slice_of(grid: Geometry, axis: int, index: int) -> Geometry:
    """One plane of the grid."""
    start, shape = [0, 0, 0], list(grid.shape)
    start[axis], shape[axis] = index, 1
    return grid.crop(start, shape)


def _slice_indices(labels: npt.NDArray[np.int64], axis: int) -> list[int]:
    others = tuple(a for a in range(3) if a != axis)
    filled = np.flatnonzero((labels > 0).any(axis=others))
    first, last = (filled[0], filled[-1]) if filled.size else (0, labels.shape[axis] - 1)
    return [int(first + (last - first) * (n + 1) / (N_SLICES + 1)) for n in range(N_SLICES)]


def _tile(plane: Pixels) -> Pixels:
    """A slice (a, b, 3) of the RAS grid as a square tile: second axis upwards, first from right to left."""
    upright = np.flip(plane.transpose(1, 0, 2), axis=(0, 1))
    tile = np.zeros((TILE, TILE, 3), dtype=np.uint8)
    height, width = min(TILE, upright.shape[0]), min(TILE, upright.shape[1])
    top, left = (TILE - height) // 2, (TILE - width) // 2
    tile[top : top + height, left : left + width] = upright[:height, :width]
    return tile


def redraw_mosaic(path: Path, result: Segmentation, *, title: str, same_labels: bool = True) -> bool:
    """Draw the labels of `result` and their names anew over the plain slices of a mosaic that `write_mosaic` made.

    Args:
        result: of the same scan, renamed, recoloured or merged since; the labelled voxels are the same.
        same_labels: whether names and colours changed at most; the confidence of other labels is not known.

    Returns:
        Whether that was possible; a picture laid out otherwise, or damaged, stays what it was.
    """
    picture = read_mosaic(path)
    found = None if picture is None else tiles_of(picture)
    if picture is None or found is None:
        return False
    tiles = found[:, :, : kinds_of(picture) if same_labels else 2].copy()
    shown = labels_at(_display_grid(result), result.labels, result.geometry)
    for row, axis in enumerate((2, 1, 0)):
        for place, index in enumerate(_slice_indices(shown, axis)):
            labels = _tile(np.repeat(np.take(shown, index, axis)[..., None], 3, -1).astype(np.uint8))[..., 0]
            tiles[row, place, 1] = _blend(tiles[row, place, 0, ..., 0], labels.astype(np.int64), result.table)
    _save(tiles.transpose(0, 3, 1, 2, 4, 5).reshape(3 * TILE, -1, 3), path, result.table, title)
    return True


def labels_at(grid: Geometry, labels: LabelArray, native: Geometry) -> npt.NDArray[np.int64]:
    """The label of the voxel nearest to each voxel centre of `grid`; beyond the native grid its border continues."""
    voxels = MetaTensor(torch.from_numpy(labels)[None], affine=torch.tensor(native.affine))
    return resample(voxels, grid, "nearest").as_tensor()[0].cpu().numpy().astype(np.int64)


def _with_names(picture: Image.Image, table: LabelTable, title: str) -> Image.Image:
    """The picture with a title above and the label names below."""
    per_row = max(1, picture.width // _NAME)
    has_confidence = picture.width > 2 * N_SLICES * TILE
    lines = -(-len(table) // per_row)
    bottom = picture.height + LINE * (lines + 1) + 10
    page = Image.new("RGB", (picture.width, bottom + LINE * has_confidence), (0, 0, 0))
    page.paste(picture, (0, HEADER))
    draw = ImageDraw.Draw(page)
    draw.text((4, 2), title, fill=(255, 255, 255))
    for place, label in enumerate(table):
        left = 4 + _NAME * (place % per_row)
        top = picture.height + LINE + 8 + LINE * (place // per_row)
        draw.rectangle((left, top + 2, left + 9, top + 11), fill=label.color)
        draw.text((left + 14, top), f"{label.number} {label.name}"[:26], fill=(255, 255, 255))
    if has_confidence:
        ramp = np.repeat(painted(np.arange(1, 256, dtype=np.uint8))[None], 9, axis=0)
        page.paste(Image.fromarray(ramp), (4, bottom))
        draw.text((266, bottom - 2), LEGEND, fill=(255, 255, 255))
    return page
