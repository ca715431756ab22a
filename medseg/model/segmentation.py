"""What a model makes of one scan: labels on its native grid, and what was asked for beside them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from medseg.labels.cleanup import count_values
from medseg.labels.confidence import Fractions
from medseg.labels.table import LabelTable
from medseg.quality.measures import Flag, Measures
from medseg.spatial.geometry import Geometry
from medseg.spatial.planes import Plane

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Labels of one scan on its native grid: (I, J, K), 0 is the background.

    Attributes:
        confidence: (I, J, K) probability that the label is right, 255 for 1; None unless asked for.
        fractions: by label number, (I, J, K) share of the voxel that it holds, 255 for 1; None unless asked for.
        finest: (I, J, K) leaf of the hierarchy, of which every cut's labels are unions; None unless asked for.
        quality: measures of the scan and of its labels.
        flags: those that are unlike the training scans'.
        planes: three planes of the scan, to be shown below the labels.
        coarse_confidence: (1, i, j, k) confidence on a coarse grid of its own, to look at; 0 without label.
        disagreement: (I, J, K) share of an ensemble's members with another label, 255 for 1; None unless asked for.
    """

    labels: LabelArray
    geometry: Geometry
    table: LabelTable
    confidence: npt.NDArray[np.uint8] | None = None
    fractions: Fractions | None = None
    finest: npt.NDArray[np.uint8] | None = None
    quality: Measures = field(default_factory=Measures)
    flags: tuple[Flag, ...] = ()
    planes: tuple[Plane, ...] = ()
    coarse_confidence: MetaTensor | None = None
    disagreement: npt.NDArray[np.uint8] | None = None

    def volumes_mm3(self) -> dict[int, float]:
        """Volume of every label of the table, 0 for those that do not occur."""
        n_values = max([int(self.labels.max()), *(x.number for x in self.table)]) + 1
        counts = count_values(self.labels, n_values)
        return {label.number: float(counts[label.number]) * self.geometry.voxel_volume_mm3 for label in self.table}

    def __repr__(self) -> str:
        return f"Segmentation({len(self.table)} labels, {self.geometry})"
