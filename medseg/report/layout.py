"""How a mosaic is laid out: who draws one and who cuts pictures out of one agree here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
N_SLICES = 4
TILE = 176
OPACITY = 0.5
LINE = 15
HEADER = LINE + 4
"""Height of the title above the tiles, in pixels."""


def read_mosaic(path: Path) -> Pixels | None:
    """(height, width, 3), or None when the file is damaged or no picture."""
    try:
        with Image.open(path) as page:
            return np.asarray(page.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def kinds_of(pixels: Pixels) -> int:
    """How often a (height, width, 3) mosaic shows each slice: plain, with labels, and 3 with confidence; else 0."""
    kinds = pixels.shape[1] // (N_SLICES * TILE)
    is_mosaic = pixels.shape[1] == kinds * N_SLICES * TILE and pixels.shape[0] >= HEADER + 3 * TILE
    return kinds if is_mosaic and kinds in (2, 3) else 0


def tiles_of(pixels: Pixels) -> Pixels | None:
    """(plane, slice, kind, TILE, TILE, 3), or None when the picture is not laid out as mosaics are."""
    kinds = kinds_of(pixels)
    if not kinds:
        return None
    grid = pixels[HEADER : HEADER + 3 * TILE].reshape(3, TILE, N_SLICES, kinds, TILE, 3)
    return grid.transpose(0, 2, 3, 1, 4, 5)
