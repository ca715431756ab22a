"""Pictures of the brain masks that tools made: the head in three planes with the outline of its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from PIL import Image, ImageDraw

from medseg.io.atomic import whole_file
from medseg.report.display import labels_at, to_grey, window_of
from medseg.report.folder import report_file
from medseg.report.marks import with_marks
from medseg.report.outcome import Outcome, ScanRow
from medseg.report.render import Pixels, data_uri, encoded, render
from medseg.report.slices import N_SLICES, TILE, blank_slices
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

FOLDER = "brain_masks"
OUTLINE = (255, 190, 0)
MAX_PICTURES_BYTES = 10_000_000
"""Beyond this a scan has a link in place of its small picture."""
_MARGIN_MM = 25.0
"""Around the mask, so that brain which it leaves out is seen."""
_HEADER = 19
_SHOWN = 1


@dataclass(frozen=True)
class MaskRow:
    """A scan with a brain mask, as the page shows it.

    Attributes:
        place: of the scan in the manifest.
        picture: data URI of three planes with the outline; empty beyond the budget.
        link: address of the full picture beside the page; empty where nothing lies beside it.
    """

    place: int
    scan: ScanRow
    picture: str
    link: str


def write_mask_picture(image: MetaTensor, mask: MetaTensor, path: Path, *, title: str) -> None:
    """Write a PNG of a (1, I, J, K) image: a row for each plane, the outline of its mask over it."""
    native, inside = Geometry.of(image), (mask.as_tensor()[0] > 0).cpu().numpy().astype(np.uint8)
    slices, window = blank_slices(inside, native, _MARGIN_MM), window_of(image, inside)
    grey = slices.sampled(lambda plane: to_grey(resample(image, plane), window))
    drawn = slices.sampled(lambda plane: labels_at(plane, inside, native) > 0)
    pixels = render(grey, _outlines(drawn), np.array([(0, 0, 0), OUTLINE], dtype=np.uint8), 1.0)
    pixels = with_marks(pixels, slices)
    rows = pixels.transpose(0, 2, 1, 3, 4).reshape(3 * TILE, N_SLICES * TILE, 3)
    page = Image.new("RGB", (rows.shape[1], rows.shape[0] + _HEADER), (0, 0, 0))
    page.paste(Image.fromarray(np.ascontiguousarray(rows)), (0, _HEADER))
    ImageDraw.Draw(page).text((4, 2), title, fill=(255, 255, 255))
    with whole_file(path) as temporary:
        page.save(temporary, format="PNG", compress_level=2)


def _outlines(inside: npt.NDArray[np.bool_]) -> Pixels:
    """(..., height, width) of 0 and 1: the pixels of a mask that border on one outside."""
    padded = np.pad(inside, [(0, 0)] * (inside.ndim - 2) + [(1, 1), (1, 1)])
    neighbours = [padded[..., 1 + a : padded.shape[-2] - 1 + a, 1 + b : padded.shape[-1] - 1 + b]
                  for a, b in ((-1, 0), (1, 0), (0, -1), (0, 1))]  # fmt: skip
    return np.asarray(inside & ~np.logical_and.reduce(neighbours), dtype=np.uint8)


def mask_rows(out: Path, outcome: Outcome, *, is_inline: bool) -> list[MaskRow]:
    """One row for every scan whose brain mask a tool made, in the order of the manifest.

    Args:
        is_inline: whether nothing lies beside the page.
    """
    left, rows = MAX_PICTURES_BYTES, []
    for place, scan in enumerate(outcome.scans):
        path = report_file(out, f"{FOLDER}/{scan.name}.png") if scan.is_done and scan.mask.digest else None
        if path is None:
            continue
        picture = _thumbnail(path) if left > 0 else ""
        left -= len(picture)
        rows.append(MaskRow(place, scan, picture, "" if is_inline else f"report/{FOLDER}/{quote(scan.name)}.png"))
    return rows


def tools_of(rows: Sequence[MaskRow]) -> str:
    """Who made the masks, for people."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.scan.mask.by] = counts.get(row.scan.mask.by, 0) + 1
    return ", ".join(f"{n} {'corrected ' if by == 'by hand' else 'by '}{by}" for by, n in counts.items())


def _thumbnail(path: Path) -> str:
    """A data URI of one slice of each plane; empty when the picture is damaged."""
    try:
        with Image.open(path) as page:
            pixels = np.asarray(page.convert("RGB"))[_HEADER:]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    if pixels.shape != (3 * TILE, N_SLICES * TILE, 3):
        return ""
    rows = pixels.reshape(3, TILE, N_SLICES, TILE, 3)[:, :, _SHOWN]
    return data_uri(encoded(np.concatenate(rows, axis=1), "jpeg"), "jpeg")
