"""Small volumes for the viewer of the page: a scan in 8 bit and its labels, on a grid of at most 192 voxels a side.

Where it is known, the labels' confidence goes with them on the grid that it has.

Each scan is one script that hands its volumes to the page: a page opened from a disk or a USB stick may load scripts
that lie beside it, but may not fetch data.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import cast

import numpy as np
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import write_text_whole
from medseg.io.compact import SmallArray, nifti_bytes, nifti_from_bytes
from medseg.model.segmentation import LabelArray
from medseg.report.display import labels_at, outside_of, to_grey, window_of
from medseg.report.folder import report_file
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

SIDE = 192
FOLDER = "volumes"
_START, _END = "medsegVolume(", ");\n"


def volume_path(out: Path, scan: str) -> Path | None:
    """Where the volumes of a scan lie, if there are any."""
    return report_file(out, f"{FOLDER}/{scan}.js")


def viewer_grid(native: Geometry) -> Geometry:
    """An upright RAS grid over all of `native`, never finer than the scan, at most `SIDE` voxels along an axis."""
    last = np.asarray(native.shape) - 1
    corners = np.array([[a, b, c] for a in (0, last[0]) for b in (0, last[1]) for c in (0, last[2])])
    world = native.to_world(corners)
    start, extent = world.min(axis=0), np.ptp(world, axis=0)
    step = np.maximum(np.asarray(native.in_ras_order().spacing_mm), extent / (SIDE - 1))
    shape = np.floor(extent / step + 1e-6).astype(int) + 1
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = start + (extent - (shape - 1) * step) / 2
    return Geometry(cast(tuple[int, int, int], tuple(int(n) for n in shape)), affine)


def write_viewer_volume(
    image: MetaTensor, labels: LabelArray, path: Path, confidence: MetaTensor | None = None
) -> None:
    """Write the script of one scan.

    Args:
        image: (1, I, J, K), native; shown over the `window_of` the labelled voxels.
        labels: (I, J, K) on the same grid; each voxel of the viewer takes the label at its centre.
        confidence: (1, I, J, K) of 1..255, 0 without label, on any grid.
    """
    native = Geometry.of(image)
    grid = viewer_grid(native)
    shown = _labels_on(grid, labels, native)
    grey = to_grey(resample(image, grid), window_of(image, labels))
    grey[outside_of(grid, native)] = 0
    parts = {"image": nifti_bytes(grey, grid), "labels": nifti_bytes(shown, grid)}
    if confidence is not None:
        parts["confidence"] = nifti_bytes(confidence.as_tensor()[0].cpu().numpy(), Geometry.of(confidence))
    _write(path, parts)


def renew_labels(path: Path, labels: LabelArray, native: Geometry) -> None:
    """Write other labels into a script; its image stays, their confidence is not known.

    Raises:
        ValueError: the file is no script that `write_viewer_volume` wrote.
    """
    image, _ = read_viewer_volume(path)
    _, grid = nifti_from_bytes(image)
    _write(path, {"image": image, "labels": nifti_bytes(_labels_on(grid, labels, native), grid)})


def read_viewer_volume(path: Path) -> tuple[bytes, bytes]:
    """The image and the labels of a script, each a compressed NIfTI file.

    Raises:
        ValueError: the file is no script that `write_viewer_volume` wrote.
    """
    parts = _read(path)
    return parts["image"], parts["labels"]


def _read(path: Path) -> dict[str, bytes]:
    """The compressed NIfTI files of a script, by their names.

    Raises:
        ValueError: the file is no script that `write_viewer_volume` wrote.
    """
    try:
        text = path.read_text("ascii")
        if not (text.startswith(_START) and text.endswith(_END)):
            raise ValueError
        parts = {name: base64.b64decode(part) for name, part in json.loads(text[len(_START) : -len(_END)]).items()}
        if not {"image", "labels"} <= set(parts):
            raise ValueError
        return parts
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path.name} holds no volumes for the viewer") from error


def as_json(path: Path) -> str:
    """The volumes of a script as JSON that can stand inside a page."""
    return _json(_read(path))


def _labels_on(grid: Geometry, labels: LabelArray, native: Geometry) -> SmallArray:
    """The label at each voxel centre of `grid`; 0 outside the native grid."""
    found = labels_at(grid, labels, native)
    found[outside_of(grid, native)] = 0
    return found.astype(np.uint8) if found.max() < 256 else found.astype(np.uint16)


def _write(path: Path, parts: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, f"{_START}{_json(parts)}{_END}")


def _json(parts: dict[str, bytes]) -> str:
    return json.dumps({name: base64.b64encode(part).decode("ascii") for name, part in parts.items()})
