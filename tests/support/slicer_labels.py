"""A small label map on grids of every kind, with names and codes that are hard to write."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from medseg.labels.table import Code, Label, LabelTable
from medseg.spatial.geometry import Geometry

SHAPE = (9, 10, 7)
TABLE = LabelTable(
    labels=(
        Label(number=1, name="left kidney", color=(185, 102, 83), code=Code(value="64033007", meaning="Kidney")),
        Label(number=2, name="Großhirn", color=(0, 128, 255)),
        Label(number=3, name="absent", color=(7, 8, 9)),
        Label(number=300, name="air", color=(255, 255, 255), code=Code(value="15^8|2~56000", meaning="Air | ~^gas")),
    )
)


def grid(axes: npt.ArrayLike) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, dtype=np.float64) * (0.7, 0.9, 5.0)
    affine[:3, 3] = (-110.5, 45.25, 1033.125)
    return Geometry(SHAPE, affine)


GRIDS = {
    "RAS": grid(np.eye(3)),
    "LPS": grid(np.diag([-1, -1, 1])),
    "PIR": grid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])),
    "oblique": grid(Rotation.from_euler("xyz", (17, -8, 33), degrees=True).as_matrix()),
}


def phantom() -> npt.NDArray[np.uint16]:
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[1:4, 2:9, 1:3] = 1
    labels[5:9, 0:4, 3:7] = 2
    labels[6, 6, 6] = 300
    return labels
