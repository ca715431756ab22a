"""Figures for papers: chosen slices of one scan with its labels, in its own voxels, as PNG or SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from medseg.errors import ConfigError
from medseg.io.atomic import whole_file
from medseg.labels.table import Label, LabelTable
from medseg.model.segmentation import LabelArray
from medseg.report.display import to_grey, window_of
from medseg.report.marks import SIDES, place_of, scale_bar_mm
from medseg.report.render import OPACITY, Pixels, label_colors, render, upright
from medseg.spatial.geometry import Geometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
SUFFIXES = (".png", ".svg")
_THICK, _EVEN = 2.0, 0.98
_MM_PER_INCH = 25.4
_LEGEND_INCHES, _GAP = 0.28, 0.02
_SALT = "medseg"


@dataclass(frozen=True)
class Look:
    """How a figure looks.

    Attributes:
        plane: ``axial``, ``coronal`` or ``sagittal``; empty: the plane of thick slices, else axial.
        at_mm: where the slices lie along the axis closest to their normal (RAS+ mm); empty: `n_slices` evenly.
        width_mm: of the whole figure.
        dpi: pixels an inch, of PNG and of the slices in SVG.
        background: ``white`` or ``black``.
        outlines: borders of labels in place of filled areas.
        labels_only: no row of the scan without labels.
    """

    plane: str = ""
    at_mm: tuple[float, ...] = ()
    n_slices: int = 5
    width_mm: float = 180.0
    dpi: int = 300
    background: str = "white"
    outlines: bool = False
    labels_only: bool = False


@dataclass(frozen=True)
class Panel:
    """One slice: (height, width) pictures as radiologists look at them, and what is said of it.

    Attributes:
        size_mm: width and height.
        place: such as ``S 23 mm``.
    """

    grey: Pixels
    labels: npt.NDArray[np.integer[Any]]
    size_mm: tuple[float, float]
    axis: int
    place: str

    @property
    def is_cut_out(self) -> bool:
        """Whether there is nothing to see around the labels, as around a skull-stripped brain."""
        around = self.grey[self.labels == 0]
        return bool(around.size) and float((around == 0).mean()) > _EVEN


def draw_figure(image: MetaTensor, labels: LabelArray, table: LabelTable, look: Look, path: Path) -> None:
    """Write the figure of a native (1, I, J, K) image with its (I, J, K) labels; PNG or SVG by the name of `path`.

    Raises:
        ConfigError: another suffix, no matplotlib, or a slice beyond the scan.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path.name}: found the suffix {path.suffix or 'none'}, expected .png or .svg; rename it")
    if find_spec("matplotlib") is None:
        raise ConfigError('figures are drawn by matplotlib, which is not installed; run pip install "medseg[figure]"')
    import matplotlib as mpl

    panels = cut_panels(image, labels, look)
    shown = [label for label in table if any((panel.labels == label.number).any() for panel in panels)]
    with mpl.rc_context({"svg.hashsalt": _SALT, "svg.fonttype": "none", "font.size": 7}):
        figure = _drawn(panels, shown, look)
        kind = path.suffix[1:].lower()
        told: dict[str, str | None] = {"Software": "medseg"} if kind == "png" else {"Date": None, "Creator": "medseg"}
        with whole_file(path) as temporary, temporary.open("wb") as file:
            figure.savefig(file, format=kind, dpi=look.dpi, facecolor=look.background, metadata=told)


def cut_panels(image: MetaTensor, labels: LabelArray, look: Look) -> list[Panel]:
    """The slices that are asked for: whole slices of the scan, cropped to what is labelled.

    Raises:
        ConfigError: a slice beyond the scan.
    """
    native = Geometry.of(image)
    grid, grey, numbers = (
        native.in_ras_order(),
        *_in_ras_order(native, to_grey(image, window_of(image, labels)), labels),
    )
    axis = PLANES[look.plane] if look.plane else _own_axis(grid)
    box = [_filled(numbers, other) for other in range(3)]
    parts = []
    for index in _indices(grid, axis, box[axis], look):
        part = tuple(slice(index, index + 1) if other == axis else slice(*box[other]) for other in range(3))
        shape = [box[other][1] - box[other][0] if other != axis else 1 for other in range(3)]
        plane = grid.crop([index if other == axis else box[other][0] for other in range(3)], shape)
        sizes = [n * s for other, (n, s) in enumerate(zip(shape, plane.spacing_mm, strict=True)) if other != axis]
        cut = upright(grey[part].squeeze(axis)), upright(numbers[part].squeeze(axis))
        parts.append(Panel(*cut, (sizes[0], sizes[1]), axis, place_of(plane, axis)))
    return parts


def _own_axis(grid: Geometry) -> int:
    """Across thick slices, else from feet to head."""
    spacing = np.asarray(grid.spacing_mm)
    return int(spacing.argmax()) if spacing.max() > _THICK * np.sort(spacing)[1] else 2


def _in_ras_order(native: Geometry, *volumes: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """(I, J, K) volumes in the order of `Geometry.in_ras_order`."""
    order = [native.ras_axes.index(axis) for axis in range(3)]
    axes = native.in_ras_order().affine[:3, :3]
    flipped = [axis for axis in range(3) if native.affine[:3, order[axis]] @ axes[:, axis] < 0]
    return [np.flip(volume.transpose(order), tuple(flipped)) for volume in volumes]


def _filled(labels: npt.NDArray[Any], axis: int) -> tuple[int, int]:
    """First and last-plus-one index with a label, and a margin of three voxels; all of it without labels."""
    filled = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis})))
    size = labels.shape[axis]
    return (max(int(filled[0]) - 3, 0), min(int(filled[-1]) + 4, size)) if filled.size else (0, size)


def _indices(grid: Geometry, axis: int, box: tuple[int, int], look: Look) -> list[int]:
    if not look.at_mm:
        shares = np.arange(1, look.n_slices + 1) / (look.n_slices + 1)
        return [round(box[0] + share * (box[1] - 1 - box[0])) for share in shares]
    middle = (np.asarray(grid.shape) - 1) / 2
    ends = []
    for index in (0, grid.shape[axis] - 1):
        middle[axis] = index
        ends.append(float(grid.to_world([middle])[0][axis]))
    found = []
    for mm in look.at_mm:
        place = (mm - ends[0]) / (ends[1] - ends[0]) * (grid.shape[axis] - 1)
        if not -0.5 <= place <= grid.shape[axis] - 0.5:
            raise ConfigError(f"--at {mm:g}: the scan reaches from {ends[0]:.0f} to {ends[1]:.0f} mm; choose within")
        found.append(int(np.clip(round(place), 0, grid.shape[axis] - 1)))
    return found


def _drawn(panels: Sequence[Panel], shown: Sequence[Label], look: Look) -> Figure:
    """Rows of slices with equal millimetres everywhere, a legend below."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    width, height = (max(panel.size_mm[n] for panel in panels) for n in (0, 1))
    n_rows, inches = 1 if look.labels_only else 2, look.width_mm / _MM_PER_INCH
    side = inches / len(panels)
    tall = side * height / width
    n_lines = -(-len(shown) // 5)
    total = n_rows * tall + _LEGEND_INCHES * n_lines
    figure = Figure(figsize=(inches, total))
    for column, panel in enumerate(panels):
        for row in range(n_rows):
            top = 1 - (row + 1) * tall / total
            axes = figure.add_axes((column / len(panels), top, (1 - _GAP) / len(panels), (1 - _GAP) * tall / total))
            has_labels = look.labels_only or row == 1
            _draw_panel(axes, panel, shown if has_labels else (), look, bar=row == n_rows - 1 and column == 0)
            axes.set_xlim((panel.size_mm[0] - width) / 2, (panel.size_mm[0] + width) / 2)
            axes.set_ylim((panel.size_mm[1] - height) / 2, (panel.size_mm[1] + height) / 2)
    if shown:
        patches = [Patch(color=_rgb(label), label=label.name) for label in shown]
        figure.legend(
            handles=patches, loc="lower center", ncols=min(len(shown), 5), frameon=False, labelcolor=_ink(look)
        )
    return figure


def _draw_panel(axes: Axes, panel: Panel, shown: Sequence[Label], look: Look, *, bar: bool) -> None:
    width, height = panel.size_mm
    fill = shown and not look.outlines
    rgb = (
        render(panel.grey, panel.labels.astype(np.uint16), label_colors(shown), OPACITY) if fill else render(panel.grey)
    )
    if look.background == "white" and panel.is_cut_out:
        rgb[panel.labels == 0] = 255
    axes.imshow(rgb, extent=(0, width, 0, height), interpolation="nearest")
    axes.set_axis_off()
    for label in shown if look.outlines else ():
        inside = np.pad(panel.labels == label.number, 1).astype(float)
        n_rows, n_columns = panel.labels.shape
        x = (np.arange(-1, n_columns + 1) + 0.5) * width / n_columns
        y = height - (np.arange(-1, n_rows + 1) + 0.5) * height / n_rows
        if inside.any():
            axes.contour(x, y, inside, [0.5], colors=[_rgb(label)], linewidths=0.7)
    _mark(axes, panel, look, bar=bar)


def _mark(axes: Axes, panel: Panel, look: Look, *, bar: bool) -> None:
    """Sides and place at the borders of the panel, the scale bar where it is asked for."""
    from matplotlib.patheffects import withStroke

    left, right, _, _ = SIDES[panel.axis]
    is_dark = look.background == "white" and panel.is_cut_out
    ink, halo = ("black", "white") if is_dark else ("white", "black")
    edge = [withStroke(linewidth=1.2, foreground=halo)]
    style: dict[str, Any] = {"color": ink, "transform": axes.transAxes, "path_effects": edge}
    axes.text(0.02, 0.5, left, va="center", ha="left", **style)
    axes.text(0.98, 0.5, right, va="center", ha="right", **style)
    axes.text(0.02, 0.98, panel.place, va="top", ha="left", **style)
    if bar:
        length, start, level = scale_bar_mm(panel.size_mm[0]), 0.03 * panel.size_mm[0], 0.03 * panel.size_mm[1]
        axes.plot([start, start + length], [level, level], color=ink, linewidth=1.5, solid_capstyle="butt",
                  path_effects=[withStroke(linewidth=2.5, foreground=halo)])  # fmt: skip
        axes.text(start, 1.6 * level, f"{length:g} mm", color=ink, ha="left", va="bottom", path_effects=edge)


def _rgb(label: Label) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in label.color)
    return red, green, blue


def _ink(look: Look) -> str:
    return "black" if look.background == "white" else "white"
