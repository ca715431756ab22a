"""How scans and segmentations show themselves in a notebook: small tables and a small picture of three planes.

Everything from outside is escaped. Pictures are laid out as radiologists look at them: patient's right on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from medseg.errors import InputError
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.model.segmentation import Segmentation
from medseg.report.display import labels_at
from medseg.report.marks import marked_picture, place_of
from medseg.report.markup import fill
from medseg.report.render import OPACITY, Pixels, data_uri, encoded, label_colors, render, upright
from medseg.spatial.geometry import Geometry
from medseg.spatial.planes import SIDE, Plane, empty_planes, middle_planes


def register(formatter: Any) -> None:
    """Teach an IPython `DisplayFormatter` to show scans and segmentations; the objects themselves do not draw."""
    for mime, of_scan, of_segmentation in (
        ("text/html", scan_html, segmentation_html),
        ("image/png", scan_png, segmentation_png),
    ):
        formatter.formatters[mime].for_type_by_name("medseg.io.scan", "Scan", of_scan)
        formatter.formatters[mime].for_type_by_name("medseg.model.segmentation", "Segmentation", of_segmentation)


def scan_html(scan: Scan) -> str:
    """Name, verdict with its reason, grid, picture."""
    png, unreadable = _seen(scan)
    verdict, reason = ("cannot be read", unreadable) if unreadable else (scan.verdict, scan.reason)
    said = f"{verdict}: {reason}" if reason else verdict
    grid = _grid(scan.geometry) if scan.geometry else ""
    return fill(
        "notebook_scan.html.j2", name=scan.id, said=said, grid=grid, picture=data_uri(png, "png") if png else ""
    )


def scan_png(scan: Scan) -> bytes | None:
    """The middle of a scan; None when it cannot be read."""
    return _seen(scan)[0]


def segmentation_html(result: Segmentation) -> str:
    """Picture, a row for each label with its volume, grid."""
    volumes_ml = {number: mm3 / 1000 for number, mm3 in result.volumes_mm3().items()}
    return fill(
        "notebook_labels.html.j2", table=result.table, volumes_ml=volumes_ml, grid=_grid(result.geometry),
        picture=data_uri(segmentation_png(result), "png"),
    )  # fmt: skip


def segmentation_png(result: Segmentation) -> bytes:
    """Scan and labels in three planes."""
    return _picture(result.planes or empty_planes(result.geometry), result)


@lru_cache(maxsize=8)
def _seen(scan: Scan) -> tuple[bytes | None, str]:
    """A picture of a scan, or why there is none."""
    if not scan.is_ok:
        return None, ""
    try:
        return _picture(middle_planes(read_scan(scan))), ""
    except InputError as error:
        return None, str(error)


def _picture(planes: Sequence[Plane], result: Segmentation | None = None) -> bytes:
    """PNG of three planes side by side: grey, below it with the colours of the labels of `result` over it.

    Without grey values the labels' colours alone, without labels the grey values alone.
    """
    longest = max(max(_extents_mm(plane)) for plane in planes)
    rows = [] if planes[0].grey is None else [[render(_grey(plane)) for plane in planes]]
    if result is not None:
        rows.append([_coloured(plane, result) for plane in planes])
    scaled = [[_marked(rgb, plane, longest) for rgb, plane in zip(row, planes, strict=True)] for row in rows]
    height = max(tile.shape[0] for tile in scaled[0])
    padded = [
        np.concatenate([np.pad(tile, ((0, height - tile.shape[0]), (0, 2), (0, 0))) for tile in row], axis=1)
        for row in scaled
    ]
    return encoded(np.concatenate(padded, axis=0), "png")


def _grey(plane: Plane) -> Pixels:
    """(a, b), black without an image."""
    shape = [n for axis, n in enumerate(plane.grid.shape) if axis != plane.axis]
    return np.zeros(shape, dtype=np.uint8) if plane.grey is None else plane.grey


def _coloured(plane: Plane, result: Segmentation) -> Pixels:
    """(a, b, 3) with the labels' colours laid over the grey values."""
    labels = labels_at(plane.grid, result.labels, result.geometry).squeeze(plane.axis)
    return render(_grey(plane), labels, label_colors(result.table), 1.0 if plane.grey is None else OPACITY)


def _extents_mm(plane: Plane) -> list[float]:
    """Width of the plane along its two axes."""
    sizes = zip(plane.grid.shape, plane.grid.spacing_mm, strict=True)
    return [n * spacing for axis, (n, spacing) in enumerate(sizes) if axis != plane.axis]


def _marked(rgb: Pixels, plane: Plane, longest_mm: float) -> Pixels:
    """Upright, in square pixels, with sides, place and scale bar."""
    width, height = (max(1, round(SIDE * extent / longest_mm)) for extent in _extents_mm(plane))
    scaled = np.asarray(Image.fromarray(upright(rgb)).resize((width, height), Image.Resampling.NEAREST))
    return marked_picture(scaled, plane.axis, place_of(plane.grid, plane.axis), longest_mm / SIDE)


def _grid(geometry: Geometry) -> str:
    spacing = " x ".join(f"{s:.3g}" for s in geometry.spacing_mm)
    return f"{' x '.join(map(str, geometry.shape))} voxels of {spacing} mm, {geometry.axcodes}"
