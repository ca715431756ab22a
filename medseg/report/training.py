"""What the page tells of the training: its curve, and examples of what the network was given and made of it.

The examples are pixels of training scans. They lie with the other pictures of an output folder, never in a model
folder, which may travel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.io.atomic import whole_file
from medseg.network.examples import Example
from medseg.report.folder import report_file
from medseg.report.render import Pixels, data_uri, encoded, render, upright

SIDE = 120
"""Pixels along an axis of an example."""
_HIDDEN = (240, 130, 0)
_EVERY = 4
_ROWS = (
    ("given", "what the network is given: to predict a voxel, that voxel is hidden (orange: one of 16 as an example)"),
    ("reconstruction", "what it expects of every voxel, from its surroundings alone"),
    ("original", "what is there"),
)


def examples_name(created: str) -> str:
    """Name below ``OUT/report`` of the examples of the model that was made at this time."""
    return f"training-{re.sub('[^0-9]', '', created)[:14]}.png"


def write_examples(out: Path, created: str, examples: Sequence[Example]) -> None:
    """Write one PNG below ``OUT/report``: three rows (given, reconstruction, original), one column an example.

    Examples of models that lay there before are removed.
    """
    columns = [np.concatenate([_with_dots(x.original), _tile(x.reconstruction), _tile(x.original)]) for x in examples]
    path = out / "report" / examples_name(created)
    with whole_file(path) as temporary:
        Image.fromarray(np.concatenate(columns, axis=1)).save(temporary, format="PNG", optimize=True)
        for old in path.parent.glob("training-*.png"):
            if re.fullmatch(r"training-\d{14}\.png", old.name) and old != path:
                old.unlink()


@dataclass(frozen=True)
class ExampleRow:
    """One row of the examples: its picture as a data URI, its size in pixels, what it shows."""

    name: str
    meaning: str
    picture: str
    width: int
    height: int


def example_rows(out: Path, created: str) -> list[ExampleRow]:
    """The rows of the examples of the model that was made at this time; none without a sound picture of them."""
    path = report_file(out, examples_name(created)) if created else None
    rows = None if path is None else _rows(path)
    return [
        ExampleRow(name, meaning, data_uri(encoded(row, "png"), "png"), row.shape[1], row.shape[0])
        for row, (name, meaning) in zip(rows or (), _ROWS, strict=False)
    ]


def _rows(path: Path) -> list[Pixels] | None:
    """The three rows of the examples; None when the picture is damaged or laid out otherwise."""
    try:
        with Image.open(path) as page:
            pixels = np.asarray(page.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    height, width = pixels.shape[:2]
    return None if height != len(_ROWS) * SIDE or width % SIDE else np.split(pixels, len(_ROWS))


def _with_dots(plane: npt.NDArray[np.float32]) -> Pixels:
    rgb = render(_grey(plane))
    rgb[_EVERY // 2 :: _EVERY, _EVERY // 2 :: _EVERY] = _HIDDEN
    return _enlarged(rgb)


def _tile(plane: npt.NDArray[np.float32]) -> Pixels:
    return _enlarged(render(_grey(plane)))


def _grey(plane: npt.NDArray[np.float32]) -> Pixels:
    return np.asarray(np.rint(255 * plane), dtype=np.uint8)


def _enlarged(rgb: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(upright(rgb)).resize((SIDE, SIDE), Image.Resampling.NEAREST))
