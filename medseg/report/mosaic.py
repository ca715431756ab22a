"""Mosaics: a scan and its labels in three planes as one PNG, for the eye before any number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data.meta_tensor import MetaTensor
from PIL import Image, ImageDraw

from medseg.io.atomic import whole_file
from medseg.labels.table import LabelTable
from medseg.model.segmentation import Segmentation
from medseg.report.confidence import LEGEND
from medseg.report.marks import with_marks
from medseg.report.render import DOUBT_OPACITY, SURE, UNSURE, Pixels, confidence_colors, doubts, label_colors, render
from medseg.report.slices import TILE, Slices, cut_slices, read_slices, with_labels_of, write_slices

LINE = 15
HEADER = LINE + 4
"""Height of the title above the tiles, in pixels."""
_NAME = 175
"""Width of a name below the tiles, in pixels."""


def write_pictures(
    image: MetaTensor, result: Segmentation, slices_path: Path, mosaic_path: Path, *, title: str
) -> None:
    """Write the slices of a (1, I, J, K) image with its labels, as data and as a mosaic."""
    slices = cut_slices(image, result)
    write_slices(slices, slices_path)
    write_mosaic(slices, result.table, mosaic_path, title=title)


def renew_pictures(
    result: Segmentation, slices_path: Path, mosaic_path: Path, *, title: str, same_labels: bool = True
) -> bool:
    """Have the slices and the mosaic of a scan follow its labels, without the scan.

    Args:
        result: of the same scan, renamed, recoloured or merged since.
        same_labels: whether names and colours changed at most; the confidence of other labels is not known.

    Returns:
        Whether that was possible; without sound slices the mosaic stays as it was.
    """
    kept = read_slices(slices_path)
    if kept is None:
        return False
    if not same_labels:
        kept = replace(with_labels_of(kept, result), confidence=np.zeros_like(kept.confidence))
        write_slices(kept, slices_path)
    write_mosaic(kept, result.table, mosaic_path, title=title)
    return True


def write_mosaic(slices: Slices, table: LabelTable, path: Path, *, title: str) -> None:
    """Write a PNG: a row for each plane; each slice plain, with its labels, and with its doubts.

    Below are the label names, and the colours of the doubts where confidence is known.
    """
    kinds = [render(slices.grey), render(slices.grey, slices.labels, label_colors(table))]
    if slices.knows_confidence:
        kinds.append(render(slices.grey, doubts(slices.confidence), confidence_colors(), opacity=DOUBT_OPACITY))
    kinds = [with_marks(kind, slices) for kind in kinds]
    rows = np.stack(kinds, axis=2).transpose(0, 3, 1, 2, 4, 5)
    page = _with_names(rows.reshape(3 * TILE, -1, 3), table, title, shows_confidence=slices.knows_confidence)
    with whole_file(path) as temporary:
        page.save(temporary, format="PNG", compress_level=2)


def _with_names(pixels: Pixels, table: LabelTable, title: str, *, shows_confidence: bool) -> Image.Image:
    """The (height, width, 3) pixels with a title above and the label names below."""
    height, width = pixels.shape[:2]
    per_row = max(1, width // _NAME)
    bottom = height + LINE * (-(-len(table) // per_row) + 1) + 10
    page = Image.new("RGB", (width, bottom + LINE * shows_confidence), (0, 0, 0))
    page.paste(Image.fromarray(pixels), (0, HEADER))
    draw = ImageDraw.Draw(page)
    draw.text((4, 2), title, fill=(255, 255, 255))
    for place, label in enumerate(table):
        left = 4 + _NAME * (place % per_row)
        top = height + LINE + 8 + LINE * (place // per_row)
        draw.rectangle((left, top + 2, left + 9, top + 11), fill=label.color)
        draw.text((left + 14, top), f"{label.number} {label.name}"[:26], fill=(255, 255, 255))
    if shows_confidence:
        draw.text((4, bottom - 2), "0.9", fill=(255, 255, 255))
        shown = confidence_colors()[None, SURE - 1 : UNSURE - 1 : -1]
        page.paste(Image.fromarray(np.repeat(shown, 9, axis=0)), (26, bottom))
        draw.text((32 + shown.shape[1], bottom - 2), f"0.5 or less: {LEGEND}", fill=(255, 255, 255))
    return page
