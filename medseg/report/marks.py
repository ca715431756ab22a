"""What is written on every picture of a slice: sides of the patient, where the slice lies, how long a stretch is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medseg.report.render import Pixels
from medseg.report.slices import Slices
from medseg.spatial.geometry import Geometry

SIDES = {2: ("R", "L", "A", "P"), 1: ("R", "L", "S", "I"), 0: ("A", "P", "S", "I")}
"""By the axis that a slice lies across: what is at the left, right, top and bottom of its picture (`upright`)."""
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
_LENGTHS_MM = (500, 200, 100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
_LONGEST = 0.4
"""Longest scale bar, as a share of the width of a picture."""
_SIZE, _GAP = 11, 3
"""Height of letters and distance from the border, in pixels."""
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def with_marks(tiles: Pixels, slices: Slices) -> Pixels:
    """(3, N_SLICES, TILE, TILE, 3) pictures of `slices` with sides, place in mm and a scale bar on each."""
    step_mm = slices.grid.spacing_mm[0]
    planes = list(slices.planes())
    flat = tiles.reshape(-1, *tiles.shape[2:])
    marked = [
        marked_picture(tile, axis, place_of(plane, axis), step_mm)
        for tile, (axis, plane) in zip(flat, planes, strict=True)
    ]
    return np.stack(marked).reshape(tiles.shape)


def marked_picture(pixels: Pixels, axis: int, place: str, mm_per_pixel: float) -> Pixels:
    """(height, width, 3) picture of one slice across `axis` of a grid in RAS order, as `upright` turns it."""
    picture = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(picture), _font()
    width, height = picture.size
    left, right, top, bottom = SIDES[axis]
    for text, x, y, anchor in (
        (left, _GAP, height // 2, "lm"), (right, width - _GAP, height // 2, "rm"),
        (top, width // 2, _GAP, "mt"), (bottom, width // 2, height - _GAP, "mb"), (place, _GAP, _GAP, "lt"),
    ):  # fmt: skip
        draw.text((x, y), text, _WHITE, font, anchor, stroke_width=1, stroke_fill=_BLACK)
    length = scale_bar_mm(width * mm_per_pixel)
    end, line = width - _GAP, height - _GAP - 1
    start = end - round(length / mm_per_pixel)
    draw.line((start - 1, line, end + 1, line), _BLACK, 4)
    draw.line((start, line, end, line), _WHITE, 2)
    draw.text((end, line - 3), f"{length:g} mm", _WHITE, font, "rb", stroke_width=1, stroke_fill=_BLACK)
    return np.asarray(picture)


def place_of(plane: Geometry, axis: int) -> str:
    """Where the middle of a slice across `axis` lies, in RAS+ mm, such as ``S 23 mm``."""
    middle = float(plane.to_world([(np.asarray(plane.shape) - 1) / 2])[0][axis])
    text = f"{abs(middle):.0f}" if min(plane.spacing_mm) >= 0.2 else f"{abs(middle):.2f}"
    return f"{_ENDS[axis][middle > 0]} {text} mm"


def scale_bar_mm(width_mm: float) -> float:
    """The longest round length that fits into a picture `width_mm` wide and leaves room beside it."""
    return next((length for length in _LENGTHS_MM if length <= _LONGEST * width_mm), _LENGTHS_MM[-1])


@lru_cache(maxsize=1)
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(_SIZE)
