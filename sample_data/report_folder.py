"""Output folders as `medseg segment` leaves them, made in a moment: for tests and benchmarks of the page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.labels.location import NAMES as PLACES
from medseg.labels.location import places_of
from medseg.labels.table import LabelTable
from medseg.model.record import Record, write_record
from medseg.model.segmentation import Segmentation
from medseg.network.examples import Example
from medseg.report.mosaic import write_pictures
from medseg.report.training import write_examples
from medseg.report.viewer_volumes import write_viewer_volume
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom

CREATED = "2026-11-22T12:00:00+00:00"
NAMES = {1: "cerebrospinal fluid", 2: "grey matter", 3: "white matter"}


def small_grid(side: int = 40) -> Geometry:
    """A cube of 160 mm around the origin with `side` voxels along each axis."""
    spacing = 160.0 / side
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -spacing * (side - 1) / 2
    return Geometry((side, side, side), affine)


def table() -> LabelTable:
    """Three named tissues."""
    labels = LabelTable.default(3)
    for number, name in NAMES.items():
        labels = labels.replace(number, name=name)
    return labels


def _sureness(labels: np.ndarray, image: MetaTensor) -> MetaTensor:
    """A confidence that grows from one side of the labels to the other."""
    ramp = np.broadcast_to(np.linspace(60, 255, labels.shape[0])[:, None, None], labels.shape)
    return MetaTensor(torch.from_numpy(np.where(labels > 0, ramp, 0).astype(np.uint8)[None]), affine=image.affine)


def _write_places(out: Path, result: Segmentation, names: list[str]) -> None:
    """The same places for every scan that is done."""
    found = places_of(result.labels, result.geometry)
    lines = [
        f"{name},{number}," + ",".join(f"{place[part]:.4g}" for part in PLACES)
        for name in names
        for number, place in found.items()
    ]
    (out / "places.csv").write_text("\n".join([",".join(("scan", "label", *PLACES)), *lines]) + "\n")


def _examples(image: MetaTensor) -> list[Example]:
    """Four planes of the middle of the image, and the same averaged over neighbours."""
    voxels = np.asarray(image.as_tensor()[0].numpy() / float(image.max()), dtype=np.float32)
    middle = [n // 2 for n in voxels.shape]
    part = voxels[middle[0] - 12 : middle[0] + 12, middle[1] - 12 : middle[1] + 12]
    planes = [part[:, :, middle[2] + step] for step in (-6, -2, 2, 6)]
    return [Example(plane, ndimage.uniform_filter(plane, 3)) for plane in planes]


def make_out(out: Path, n_scans: int, *, volumes: bool = True, side: int = 40) -> Path:
    """`n_scans` scans that share one picture and one set of volumes, the last one odd, and one refused scan."""
    image, truth = phantom(small_grid(side), noise=8.0, seed=0)
    labels = np.asarray(truth)
    result = Segmentation(labels, Geometry.of(image), table(), coarse_confidence=_sureness(labels, image))
    slices, first, found = (
        out / "report" / name for name in ("slices/scan000.npz", "scan000.png", "volumes/scan000.js")
    )
    write_pictures(image, result, slices, first, title="scan000")
    if volumes:
        write_viewer_volume(image, labels, found, result.coarse_confidence)
    mm3 = result.volumes_mm3()
    names = []
    for place in range(n_scans):
        name = f"scan{place:03d}"
        factor = 3.0 if place == n_scans - 1 else 1.0 + 0.01 * (place % 7)
        scaled = {number: factor * mm3[number] for number in NAMES}
        write_record(out, Record(name, "done", "", "", 1.5 + place, 800, scaled))
        names.append(name)
        for source in (slices, first, found):
            if place and source.is_file():
                os.link(source, source.with_name(name + source.suffix))
    reason = "found a tilt of 12.5 degrees; regrid it"
    write_record(out, Record("tilted", "refused", "gantry_tilt", reason, 0.1, 90))
    _write_places(out, result, names)
    facts = {"medseg": "0.1.0", "command": ["medseg", "run", "--config", "smoke"], "device": "cpu", "plan": {},
             "labels": [label.model_dump(mode="json") for label in table()],
             "created": CREATED, "training": {"losses": [1.9, 1.2, 0.9, 0.8, 0.77, 0.76], "n_steps": 300}}  # fmt: skip
    write_examples(out, CREATED, _examples(image))
    (out / "run.json").write_text(json.dumps(facts))
    return out
