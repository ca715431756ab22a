"""A mosaic as a reader sees it: its slices, cut out of the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.report.mosaic import HEADER
from medseg.report.slices import N_SLICES, TILE


def tiles_in(path: Path) -> npt.NDArray[np.uint8]:
    """(plane, slice, kind, TILE, TILE, 3); the kinds are plain, with labels, and where it is known confidence."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tiles = pixels[HEADER : HEADER + 3 * TILE].reshape(3, TILE, N_SLICES, -1, TILE, 3)
    return tiles.transpose(0, 2, 3, 1, 4, 5)
