"""Small pictures for the page, drawn from the slices of a scan."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medseg.labels.table import Label
from medseg.report.marks import marked_picture, place_of, with_marks
from medseg.report.render import Pixels, data_uri, encoded, label_colors, render
from medseg.report.slices import N_SLICES, Slices

_SHOWN = 1
"""Which slice of each plane is shown."""
_DIMMED, _ALONE = 0.6, 0.65
"""Brightness around a label that is shown alone, and the opacity of its colour."""


def thumbnail(slices: Slices, labels: Iterable[Label]) -> str:
    """A data URI: one slice of each plane side by side, in the colours of `labels`."""
    planes = with_marks(render(slices.grey, slices.labels, label_colors(labels)), slices)[:, _SHOWN]
    return _uri(np.concatenate(planes, axis=1))


def label_alone(slices: Slices, label: Label) -> str:
    """A data URI: the slice that shows most of one label, everything else grey; empty without any."""
    inside = slices.labels == label.number
    counts = inside.sum(axis=(2, 3))
    if not counts.any():
        return ""
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    grey, chosen = slices.grey[row, column], inside[row, column]
    dimmed = np.where(chosen, grey, (_DIMMED * grey).astype(np.uint8))
    colors = np.array([(0, 0, 0), label.color], dtype=np.uint8)
    axis, plane = list(slices.planes())[row * N_SLICES + column]
    picture = render(dimmed, chosen.astype(np.uint8), colors, _ALONE)
    return _uri(marked_picture(picture, axis, place_of(plane, axis), slices.grid.spacing_mm[0]))


def _uri(pixels: Pixels) -> str:
    return data_uri(encoded(pixels, "jpeg"), "jpeg")
