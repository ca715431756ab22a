"""How scans and segmentations show themselves in a notebook: small tables and a small picture of three planes.

Everything from outside is escaped. Pictures are laid out as radiologists look at them: patient's right on the left.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.errors import InputError
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.labels.table import LabelTable
from medseg.model.segmentation import Segmentation
from medseg.spatial.geometry import Geometry
from medseg.spatial.planes import SIDE, Plane, empty_planes, middle_planes
from medseg.spatial.resample import resample

Pixels = npt.NDArray[np.uint8]
_OPACITY = 0.5


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
    said = escape(verdict if not reason else f"{verdict}: {reason}")
    grid = "" if scan.geometry is None else f"<br>{escape(_grid(scan.geometry))}"
    return f"<p><b>{escape(scan.id)}</b> {said}{grid}</p>{_img(png, 'scan in three planes')}"


def scan_png(scan: Scan) -> bytes | None:
    """The middle of a scan; None when it cannot be read."""
    return _seen(scan)[0]


def segmentation_html(result: Segmentation) -> str:
    """Picture, a row for each label with its volume, grid."""
    return labels_html(result.table, result.volumes_mm3(), result.geometry, segmentation_png(result))


def segmentation_png(result: Segmentation) -> bytes:
    """Scan and labels in three planes."""
    planes = result.planes or empty_planes(result.geometry)
    return picture(planes, as_image(result.labels, result.geometry), result.table)


@lru_cache(maxsize=8)
def _seen(scan: Scan) -> tuple[bytes | None, str]:
    """A picture of a scan, or why there is none."""
    if not scan.is_ok:
        return None, ""
    try:
        return picture(middle_planes(read_scan(scan))), ""
    except InputError as error:
        return None, str(error)


def labels_html(
    table: LabelTable, volumes_mm3: Mapping[int, float], geometry: Geometry, picture: bytes | None = None
) -> str:
    """A row for each label: number, colour, name, volume in ml; the picture above."""
    rows = "".join(
        f'<tr><td>{label.number}</td><td style="background:rgb({",".join(map(str, label.color))});width:2em"></td>'
        f'<td style="text-align:left">{escape(label.name)}</td>'
        f"<td>{volumes_mm3.get(label.number, 0.0) / 1000:.1f} ml</td></tr>"
        for label in table
    )
    return f"{_img(picture, 'labels in three planes')}<table>{rows}</table><p>{escape(_grid(geometry))}</p>"


def picture(planes: Sequence[Plane], labels: MetaTensor | None = None, table: LabelTable | None = None) -> bytes:
    """PNG of three planes side by side: grey, below it with the colours of the (1, I, J, K) labels over it.

    Without grey values the labels' colours alone, without labels the grey values alone.
    """
    longest = max(max(_extents_mm(plane)) for plane in planes)
    rows = [] if planes[0].grey is None else [[_grey(plane) for plane in planes]]
    if labels is not None and table is not None:
        rows.append([_coloured(plane, labels, table) for plane in planes])
    scaled = [[_tile(rgb, plane, longest) for rgb, plane in zip(row, planes, strict=True)] for row in rows]
    height = max(tile.shape[0] for tile in scaled[0])
    padded = [
        np.concatenate([np.pad(tile, ((0, height - tile.shape[0]), (0, 2), (0, 0))) for tile in row], axis=1)
        for row in scaled
    ]
    return _png(np.concatenate(padded, axis=0))


def _grey(plane: Plane) -> Pixels:
    """(a, b, 3)."""
    if plane.grey is None:
        return np.zeros((*(n for axis, n in enumerate(plane.grid.shape) if axis != plane.axis), 3), dtype=np.uint8)
    return np.repeat(plane.grey[..., None], 3, axis=-1)


def _coloured(plane: Plane, labels: MetaTensor, table: LabelTable) -> Pixels:
    """(a, b, 3) with the labels' colours laid over the grey values."""
    found = resample(labels, plane.grid, "nearest").as_tensor()[0].cpu().numpy().squeeze(plane.axis).astype(np.int64)
    rgb = _grey(plane).astype(np.float64)
    opacity = 1.0 if plane.grey is None else _OPACITY
    for label in table:
        inside = found == label.number
        rgb[inside] = (1 - opacity) * rgb[inside] + opacity * np.asarray(label.color)
    return rgb.astype(np.uint8)


def _extents_mm(plane: Plane) -> list[float]:
    """Width of the plane along its two axes."""
    sizes = zip(plane.grid.shape, plane.grid.spacing_mm, strict=True)
    return [n * spacing for axis, (n, spacing) in enumerate(sizes) if axis != plane.axis]


def _tile(rgb: Pixels, plane: Plane, longest_mm: float) -> Pixels:
    """Upright, in square pixels: second axis upwards, first from right to left."""
    from PIL import Image

    width, height = (max(1, round(SIDE * extent / longest_mm)) for extent in _extents_mm(plane))
    upright = Image.fromarray(np.ascontiguousarray(np.flip(rgb.transpose(1, 0, 2), axis=(0, 1))))
    return np.asarray(upright.resize((width, height), Image.Resampling.NEAREST))


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _img(picture: bytes | None, text: str) -> str:
    if not picture:
        return ""
    return f'<img alt="{text}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _grid(geometry: Geometry) -> str:
    spacing = " x ".join(f"{s:.3g}" for s in geometry.spacing_mm)
    return f"{' x '.join(map(str, geometry.shape))} voxels of {spacing} mm, {geometry.axcodes}"


def as_image(labels: npt.NDArray[np.generic], geometry: Geometry) -> MetaTensor:
    """(I, J, K) labels as a (1, I, J, K) image."""
    return MetaTensor(torch.from_numpy(labels)[None], affine=torch.from_numpy(geometry.affine.copy()))
