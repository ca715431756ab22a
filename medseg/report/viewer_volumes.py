"""Small volumes for the viewer of the page: a scan in its own units and its labels, at most 192 voxels a side.

Where it is known, the labels' confidence goes with them on the grid that it has.

Each scan is one script that hands its volumes to the page: a page opened from a disk or a USB stick may load scripts
that lie beside it, but may not fetch data.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import write_text_whole
from medseg.io.compact import SmallArray, nifti_bytes, nifti_from_bytes
from medseg.model.segmentation import LabelArray
from medseg.preprocessing.fingerprint import is_hounsfield
from medseg.report.display import labels_at, outside_of, window_of
from medseg.report.folder import report_file
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

SIDE = 192
HU_RANGE, HU_STEP = (-1024.0, 3071.0), 4.0
"""Hounsfield units that a volume of CT tells apart."""
_MARGIN = 0.5
"""How far other volumes reach beyond the window on either side, as a share of it: room to change the window."""
FOLDER = "volumes"
_START, _END = "medsegVolume(", ");\n"


@dataclass(frozen=True)
class Facts:
    """What the page tells of a scan while it shows it.

    Attributes:
        window: intensities that are black and white at first.
        unit: of the intensities, ``HU`` or none.
        affine: (4, 4) of the scan, voxel to RAS+ mm.
        shape: voxels of the scan.
    """

    window: tuple[float, float]
    unit: str
    affine: list[list[float]]
    shape: tuple[int, int, int]


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
        image: (1, I, J, K), native; first shown over the `window_of` the labelled voxels.
        labels: (I, J, K) on the same grid; each voxel of the viewer takes the label at its centre.
        confidence: (1, I, J, K) of 1..255, 0 without label, on any grid.
    """
    native = Geometry.of(image)
    grid = viewer_grid(native)
    shown = _labels_on(grid, labels, native)
    window, is_hu = window_of(image, labels), is_hounsfield(image)
    facts = Facts(window, "HU" if is_hu else "", native.affine.tolist(), native.shape)
    parts = {"image": _scan_on(grid, image, window, is_hu=is_hu), "labels": nifti_bytes(shown, grid)}
    if confidence is not None:
        parts["confidence"] = nifti_bytes(confidence.as_tensor()[0].cpu().numpy(), Geometry.of(confidence))
    _write(path, parts, facts)


def _scan_on(grid: Geometry, image: MetaTensor, window: tuple[float, float], *, is_hu: bool) -> bytes:
    """The scan in steps of 4 HU, or in 255 over twice its window; what lies outside has the least value."""
    (low, high), step = HU_RANGE, HU_STEP
    if not is_hu:
        margin = _MARGIN * (window[1] - window[0])
        values = image.as_tensor()
        low, high = max(float(values.min()), window[0] - margin), min(float(values.max()), window[1] + margin)
        step = max(high - low, 1e-6) / 255
    stored = (resample(image, grid).as_tensor()[0].cpu().numpy() - np.float32(low)) / np.float32(step)
    stored = np.rint(np.clip(stored, 0, (high - low) / step))
    stored[outside_of(grid, native=Geometry.of(image))] = 0
    return nifti_bytes(stored.astype(np.uint16 if is_hu else np.uint8), grid, slope=step, intercept=low)


def renew_labels(path: Path, labels: LabelArray, native: Geometry) -> None:
    """Write other labels into a script; its image stays, their confidence is not known.

    Raises:
        ValueError: the file is no script that `write_viewer_volume` wrote.
    """
    parts, facts = _read(path)
    _, grid = nifti_from_bytes(parts["image"])
    _write(path, {"image": parts["image"], "labels": nifti_bytes(_labels_on(grid, labels, native), grid)}, facts)


def read_viewer_volume(path: Path) -> tuple[bytes, bytes]:
    """The image and the labels of a script, each a compressed NIfTI file.

    Raises:
        ValueError: the file is no script that `write_viewer_volume` wrote.
    """
    parts, _ = _read(path)
    return parts["image"], parts["labels"]


def _read(path: Path) -> tuple[dict[str, bytes], Facts]:
    """The compressed NIfTI files of a script by their names, and what it says of the scan.

    Raises:
        ValueError: the file is no script that `write_viewer_volume` wrote.
    """
    try:
        text = path.read_text("ascii")
        if not (text.startswith(_START) and text.endswith(_END)):
            raise ValueError
        found = json.loads(text[len(_START) : -len(_END)])
        facts = Facts(**found.pop("facts"))
        parts = {name: base64.b64decode(part) for name, part in found.items()}
        if not {"image", "labels"} <= set(parts):
            raise ValueError
        return parts, facts
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} holds no volumes for the viewer") from error


def as_json(path: Path) -> str:
    """The volumes of a script as JSON that can stand inside a page."""
    return _json(*_read(path))


def _labels_on(grid: Geometry, labels: LabelArray, native: Geometry) -> SmallArray:
    """The label at each voxel centre of `grid`; 0 outside the native grid."""
    found = labels_at(grid, labels, native)
    found[outside_of(grid, native)] = 0
    return found.astype(np.uint8) if found.max() < 256 else found.astype(np.uint16)


def _write(path: Path, parts: dict[str, bytes], facts: Facts) -> None:
    write_text_whole(path, f"{_START}{_json(parts, facts)}{_END}")


def _json(parts: dict[str, bytes], facts: Facts) -> str:
    coded = {name: base64.b64encode(part).decode("ascii") for name, part in parts.items()}
    return json.dumps({**coded, "facts": asdict(facts)})
