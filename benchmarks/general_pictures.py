"""A scan, its reference, the baselines and medseg beside each other: one picture for each scan of `benchmarks.general`.

Every column wears the colours of medseg's labels: each of its own labels has the colour of the one that it shares most
voxels with, one to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment

from benchmarks.general_scores import Ints
from benchmarks.sets import Case
from medseg.evaluation.overlap import confusion
from medseg.io.atomic import whole_file
from medseg.labels.table import default_color

Rgb = npt.NDArray[np.uint8]
HEIGHT = 220
"""Pixels of one slice."""
_OPACITY = 0.6
_TITLE = 14


def write_beside(case: Case, ours: Path, others: Mapping[str, Path], picture: Path) -> None:
    """Axial and coronal slice with most of the reference; columns: image, reference, `others`, medseg."""
    image = nib.as_closest_canonical(nib.Nifti1Image.from_filename(case.scan))
    spacing, grey = image.header.get_zooms()[:3], _grey(image.get_fdata(dtype=np.float32))
    own = _labels(ours)
    truth = _canonical(case.read_truth(), case.scan)
    columns: dict[str, Ints | None] = {"image": None, "reference": _recoloured(truth, own)}
    columns |= {name: _recoloured(_labels(path), own) for name, path in others.items()} | {"medseg": own}
    shown = _structures(truth)
    places = [(axis, int(shown.sum(axis=tuple({0, 1, 2} - {axis})).argmax())) for axis in (2, 1)]
    rows = [[_slice(grey, found, axis, at, spacing) for found in columns.values()] for axis, at in places]
    whole = np.vstack([_row(row, max(part.shape[1] for one in rows for part in one)) for row in rows])
    drawn = Image.fromarray(np.vstack([np.zeros((_TITLE, whole.shape[1], 3), np.uint8), whole]))
    for number, name in enumerate(columns):
        ImageDraw.Draw(drawn).text((4 + number * whole.shape[1] // len(columns), 1), name, fill=(255, 255, 255))
    picture.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(picture) as temporary:
        drawn.save(temporary, format="png")


def _structures(truth: Ints) -> npt.NDArray[np.bool_]:
    """Where the reference says something: all of it, less a class that is most of the scan."""
    counts = np.bincount(truth[truth > 0].ravel())
    return np.asarray((truth > 0) & (truth != (counts.argmax() if counts.max() > truth.size / 2 else 0)))


def _row(parts: list[Rgb], width: int) -> Rgb:
    return np.hstack([np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0))) for part in parts])


def _labels(path: Path) -> Ints:
    """(I, J, K) closest to RAS order."""
    return np.asarray(nib.as_closest_canonical(nib.Nifti1Image.from_filename(path)).dataobj).astype(np.int32)


def _canonical(voxels: Ints, scan: Path) -> Ints:
    affine = nib.Nifti1Image.from_filename(scan).affine
    return np.asarray(nib.as_closest_canonical(nib.Nifti1Image(voxels.astype(np.int32), affine)).dataobj)


def _grey(voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """0 to 255 between percentiles; air and background stay dark."""
    voxels = voxels.reshape(voxels.shape[:3])
    low, high = np.percentile(voxels, 1), np.percentile(voxels[voxels > voxels.min()], 99)
    return np.asarray(255 * np.clip((voxels - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)


def _recoloured(found: Ints, own: Ints) -> Ints:
    """The same parts under the numbers of the own labels that they share most voxels with, one to one."""
    size = int(max(found.max(), own.max())) + 1
    table = confusion(found, own, (found > 0) | (own > 0), size, size)[1:, 1:]
    rows, columns = linear_sum_assignment(-table)
    lookup = np.zeros(size, dtype=np.int32)
    lookup[rows + 1] = columns + 1
    return np.asarray(lookup[found])


def _slice(grey: npt.NDArray[np.float32], labels: Ints | None, axis: int, at: int, spacing: tuple[float, ...]) -> Rgb:
    """(HEIGHT, W, 3) with the head, or the front, up."""
    plane = np.repeat(np.take(grey, at, axis)[..., None], 3, axis=2)
    if labels is not None:
        part = np.take(labels, at, axis)
        colors = np.array([(0, 0, 0), *(default_color(n) for n in range(1, int(labels.max()) + 1))], dtype=np.float32)
        plane = np.where(part[..., None] > 0, (1 - _OPACITY) * plane + _OPACITY * colors[part], plane)
    across, up = (s for number, s in enumerate(spacing) if number != axis)
    shown = np.flip(plane.transpose(1, 0, 2), axis=0).astype(np.uint8)
    width = round(HEIGHT * shown.shape[1] * across / (shown.shape[0] * up))
    return np.asarray(Image.fromarray(shown).resize((width, HEIGHT), Image.Resampling.NEAREST))
