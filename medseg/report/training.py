"""What the page tells of the training: its curve, and examples of what the network was given and made of it.

The examples are pixels of training scans. They lie with the other pictures of an output folder, never in a model
folder, which may travel.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.io.atomic import whole_file
from medseg.network.examples import Example
from medseg.report.drawing import training_curve
from medseg.report.outcome import Outcome
from medseg.report.thumbnails import report_file

Pixels = npt.NDArray[np.uint8]
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
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.iterdir():
        if re.fullmatch(r"training-\d{14}\.png", old.name):
            old.unlink()
    with whole_file(path) as temporary:
        Image.fromarray(np.concatenate(columns, axis=1)).save(temporary, format="PNG", optimize=True)


def training_section(out: Path, outcome: Outcome) -> str:
    """Curve and examples; nothing when nothing is known of the training."""
    curve = training_curve(outcome.losses, outcome.n_steps)
    said = '<p class="muted">Mean loss between checks; lower is better.</p>\n'
    pictures = _examples(out, outcome.created)
    return (f"{said}{curve}" if curve else "") + pictures


def _examples(out: Path, created: str) -> str:
    path = report_file(out, examples_name(created)) if created else None
    rows = None if path is None else _rows(path)
    if rows is None:
        return ""
    figures = "".join(
        f'<figure><img class="example" width="{row.width}" height="{row.height}" decoding="async" '
        f'alt="examples: {name}" src="{_data_uri(row)}"><figcaption><b>{name}</b>: {text}</figcaption></figure>\n'
        for row, (name, text) in zip(rows, _ROWS, strict=True)
    )
    return f'<h3>Examples of patches</h3>\n<div class="examples">\n{figures}</div>\n'


def _rows(path: Path) -> list[Image.Image] | None:
    """The three rows of the examples; None when the picture is damaged or laid out otherwise."""
    try:
        with Image.open(path) as page:
            picture = page.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if picture.height != len(_ROWS) * SIDE or picture.width % SIDE:
        return None
    return [picture.crop((0, n * SIDE, picture.width, (n + 1) * SIDE)) for n in range(len(_ROWS))]


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _with_dots(plane: npt.NDArray[np.float32]) -> Pixels:
    grey = np.repeat(_grey(plane)[..., None], 3, axis=-1)
    grey[_EVERY // 2 :: _EVERY, _EVERY // 2 :: _EVERY] = _HIDDEN
    return _enlarged(grey)


def _tile(plane: npt.NDArray[np.float32]) -> Pixels:
    return _enlarged(np.repeat(_grey(plane)[..., None], 3, axis=-1))


def _grey(plane: npt.NDArray[np.float32]) -> Pixels:
    return np.asarray(np.rint(255 * plane), dtype=np.uint8)


def _enlarged(rgb: Pixels) -> Pixels:
    """As radiologists look at it: patient's right on the left, front up."""
    upright = np.ascontiguousarray(np.flip(rgb.transpose(1, 0, 2), axis=(0, 1)))
    return np.asarray(Image.fromarray(upright).resize((SIDE, SIDE), Image.Resampling.NEAREST))
