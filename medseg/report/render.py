"""The one renderer of slices, for mosaics, page and notebook: grey values, colours over them, bytes of a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.labels.table import Label

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
OPACITY = 0.5
RAMP = ((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (40, 174, 128), (94, 201, 98),
        (173, 220, 48), (253, 231, 37))  # fmt: skip
"""From sure to unsure, evenly: viridis, in which equal steps look equally large (Smith and van der Walt, CC0)."""
SURE = 230
"""Confidence, of 255, from which on nothing is drawn: 0.9."""
UNSURE = 128
"""Confidence, of 255, that has the last colour, as everything below it: 0.5."""
DOUBT_OPACITY = 0.75
_N_NUMBERS = 1 << 16
_QUALITY = 80


def render(
    grey: Pixels, values: Numbers | None = None, colors: Pixels | None = None, opacity: float = OPACITY
) -> Pixels:
    """(..., 3) RGB of (...) grey values, with the colour ``colors[value]`` laid over wherever a value is above 0.

    Args:
        values: (...) label numbers, or confidences 1..255.
        colors: (N, 3), from `label_colors` or `confidence_colors`; at least one more than the largest value.
        opacity: of the colours, 0 to 1.
    """
    if values is None or colors is None:
        return np.repeat(grey[..., None], 3, axis=-1)
    rgb = np.repeat(grey[..., None].astype(np.float32), 3, axis=-1)
    inside = values > 0
    rgb[inside] = (1 - opacity) * rgb[inside] + opacity * colors[values[inside]].astype(np.float32)
    return rgb.astype(np.uint8)


def label_colors(labels: Iterable[Label]) -> Pixels:
    """(65536, 3) colour of every number that a label can have; black for numbers that are none of `labels`."""
    colors = np.zeros((_N_NUMBERS, 3), dtype=np.uint8)
    for label in labels:
        if label.number < _N_NUMBERS:
            colors[label.number] = np.clip(label.color, 0, 255)
    return colors


def confidence_colors() -> Pixels:
    """(256, 3) colour of every confidence 1..254: the ramp's first at 0.9, its last at 0.5 and below."""
    places = np.linspace(SURE, UNSURE, len(RAMP))[::-1]
    colors = np.stack([np.interp(np.arange(256), places, part[::-1]) for part in np.transpose(RAMP)], axis=-1)
    colors[0] = 0
    return np.asarray(np.rint(colors), dtype=np.uint8)


def doubts(confidence: Pixels) -> Pixels:
    """The confidences 1..255 that are worth a look, below 0.9; 0 elsewhere."""
    return np.asarray(np.where(confidence < SURE, confidence, 0), dtype=np.uint8)


def upright(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A plane (a, b, ...) of a RAS grid as radiologists look at it: second axis upwards, first from right to left."""
    return np.ascontiguousarray(np.flip(np.swapaxes(plane, 0, 1), axis=(0, 1)))


def encoded(pixels: Pixels, kind: Literal["png", "jpeg"]) -> bytes:
    """(height, width, 3) pixels as the bytes of a picture; JPEG loses some detail."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind.upper(), optimize=True, quality=_QUALITY)
    return file.getvalue()


def data_uri(picture: bytes, kind: Literal["png", "jpeg"]) -> str:
    """The bytes of a picture as an address that stands inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
