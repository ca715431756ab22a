"""Small pictures for the page, cut from the mosaics that lie in report/."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from medseg.labels.table import Label
from medseg.report.layout import N_SLICES, OPACITY, TILE, read_mosaic, tiles_of

_QUALITY = 80
_TOLERANCE = 8
_WIDTH = 3 * TILE


def report_file(out: Path, name: str) -> Path | None:
    """A file below ``OUT/report``, where there is one; names never lead out of OUT."""
    path = out / "report" / name
    try:
        is_there = path.resolve().is_relative_to(out.resolve()) and path.is_file()
    except (OSError, ValueError):
        return None
    return path if is_there else None


def mosaic_of(out: Path, scan: str) -> Path | None:
    """The mosaic of a scan, where there is one."""
    return report_file(out, f"{scan}.png")


def shows_confidence(mosaic: Path) -> bool:
    """Whether a mosaic has confidence beside the labels; only its size is read."""
    try:
        with Image.open(mosaic) as page:
            return page.width == 3 * N_SLICES * TILE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def thumbnail(mosaic: Path) -> str:
    """A data URI: the second coloured slice of each plane side by side; empty when the picture cannot be read."""
    pixels = read_mosaic(mosaic)
    if pixels is None:
        return ""
    tiles = tiles_of(pixels)
    if tiles is None:
        picture = Image.fromarray(pixels)
        picture.thumbnail((_WIDTH, _WIDTH))
        return _data_uri(picture)
    return _data_uri(Image.fromarray(np.concatenate(tiles[:, 1, 1], axis=1)))


def label_alone(mosaic: Path, label: Label) -> str:
    """A data URI: the slice of a mosaic that shows most of one label, everything else grey; empty without any.

    Every slice is in the mosaic plain and with the colours laid over, so the colour laid over a pixel, and with it
    the label, is known.
    """
    pixels = read_mosaic(mosaic)
    tiles = None if pixels is None else tiles_of(pixels)
    if tiles is None:
        return ""
    plain, colored = (tiles[:, :, side].astype(np.float32) for side in (0, 1))
    laid_over = (colored - (1 - OPACITY) * plain) / OPACITY
    inside = (np.abs(laid_over - label.color) <= _TOLERANCE).all(axis=-1)
    inside &= np.abs(colored - plain).max(axis=-1) > 1
    counts = inside.sum(axis=(2, 3))
    if not counts.any():
        return ""
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    picture = 0.6 * plain[row, column]
    picture[inside[row, column]] = 0.35 * plain[row, column][inside[row, column]] + 0.65 * np.array(label.color)
    return _data_uri(Image.fromarray(picture.astype(np.uint8)))


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
