"""The picture of the README, from what `make demo` left and a picture of the benchmarks: `make pictures`.

``python -m docs.generate.overview demo/brain docs/beside_trunk.png page.png docs/overview.png``: the brain of the demo
with its labels, the CT of the benchmarks with those of medseg, the report as a browser shows it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Rgb = npt.NDArray[np.uint8]
HEIGHT = 440
GAP = 12
TITLE = 20
LABELS = "labels.ctbl"


def colours(table: Path) -> dict[int, tuple[int, int, int]]:
    """Colour of each label, from a colour table of 3D Slicer."""
    rows = [line.split() for line in table.read_text("utf-8").splitlines() if line and line[0].isdigit()]
    return {int(row[0]): (int(row[-4]), int(row[-3]), int(row[-2])) for row in rows}


def brain(folder: Path) -> Rgb:
    """Axial and coronal slice, each without and with labels."""
    with np.load(folder / "report/slices/mni152_T1w.npz") as kept:
        grey, labels = kept["grey"], kept["labels"]
    painted = np.repeat(grey[..., None], 3, axis=-1).astype(np.float32)
    for number, colour in colours(folder / LABELS).items():
        if number:
            inside = labels == number
            painted[inside] = 0.4 * painted[inside] + 0.6 * np.array(colour)
    plain = np.repeat(grey[..., None], 3, axis=-1)
    rows = [np.hstack([plain[plane, 2], painted[plane, 2].astype(np.uint8)]) for plane in (0, 1)]
    return np.vstack(rows)


def ct(picture: Path) -> Rgb:
    """First and last column of a picture of `benchmarks.general`, below its titles: the image and medseg's labels."""
    pixels = np.asarray(Image.open(picture).convert("RGB"))[14:]
    width = pixels.shape[1] // 5
    return np.hstack([pixels[:, :width], pixels[:, -width:]])


def scaled(pixels: Rgb) -> Image.Image:
    """At the common height."""
    image = Image.fromarray(pixels)
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)


def main(words: Sequence[str]) -> None:
    """Write the picture."""
    folder, trunk, page, out = map(Path, words)
    parts = {
        "MNI152 T1 brain: 3 labels": scaled(brain(folder)),
        "CT of a trunk: 32 labels": scaled(ct(trunk)),
        "the report": scaled(np.asarray(Image.open(page).convert("RGB"))),
    }
    width = sum(part.width for part in parts.values()) + GAP * (len(parts) - 1)
    drawn = Image.new("RGB", (width, HEIGHT + TITLE), (255, 255, 255))
    left = 0
    for title, part in parts.items():
        drawn.paste(part, (left, TITLE))
        ImageDraw.Draw(drawn).text((left + 2, 3), title, fill=(20, 20, 20), font_size=13)
        left += part.width + GAP
    drawn.save(out, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
