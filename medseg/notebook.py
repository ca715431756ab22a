"""How scans and segmentations show themselves in a notebook: small HTML tables, everything from outside escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from medseg.geometry import Geometry
from medseg.label_table import LabelTable


def labels_html(table: LabelTable, volumes_mm3: Mapping[int, float], geometry: Geometry) -> str:
    """A row for each label: number, colour, name, volume in ml."""
    rows = "".join(
        f'<tr><td>{label.number}</td><td style="background:rgb({",".join(map(str, label.color))});width:2em"></td>'
        f'<td style="text-align:left">{escape(label.name)}</td>'
        f"<td>{volumes_mm3.get(label.number, 0.0) / 1000:.1f} ml</td></tr>"
        for label in table
    )
    return f"<table>{rows}</table><p>{escape(_grid(geometry))}</p>"


def scan_html(name: str, verdict: str, reason: str, geometry: Geometry | None) -> str:
    """Name, verdict with its reason, grid."""
    said = escape(verdict if not reason else f"{verdict}: {reason}")
    grid = "" if geometry is None else f"<br>{escape(_grid(geometry))}"
    return f"<p><b>{escape(name)}</b> {said}{grid}</p>"


def _grid(geometry: Geometry) -> str:
    spacing = " x ".join(f"{s:.3g}" for s in geometry.spacing_mm)
    return f"{' x '.join(map(str, geometry.shape))} voxels of {spacing} mm, {geometry.axcodes}"
