"""How bright each label of a scan is, in the scan's own unit: ``statistics.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.spatial.chunks import Place
from medseg.statistics.values import Values, mean_of, percentiles_of, values_in

HOUNSFIELD, AS_STORED = "HU", "as stored"
"""Units: Hounsfield units of a CT; whatever the scanner, or the program that wrote the file, gave."""
LabelMap = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class IntensityStatistics:
    """Intensities of one label in one channel; of a label without voxels nothing is known.

    Attributes:
        channel: its name; empty for a scan of one channel.
        unit: of all but `n_voxels`.
        sd: standard deviation, divided by the number of voxels.
        p05: 5th percentile.
        p95: 95th percentile.
    """

    label: int
    channel: str
    unit: str
    n_voxels: int
    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    p05: float | None = None
    p95: float | None = None


def unit_of(modality: str) -> str:
    """The unit of the intensities of scans of this modality."""
    return HOUNSFIELD if modality == "CT" else AS_STORED


def intensity_statistics(
    image: MetaTensor, labels: LabelMap, numbers: Sequence[int], *, unit: str, channels: Sequence[str] = ()
) -> tuple[IntensityStatistics, ...]:
    """Statistics of every label of `numbers` in every channel of a scan on its own grid.

    The values of one label are the only ones that are copied.

    Args:
        image: (C, I, J, K) as read, neither normalised nor resampled.
        labels: (I, J, K) label map on the same grid.
        channels: their names; none for a scan of one channel.
    """
    places, found = places_in(labels), []
    for name, voxels in channels_in(image, channels):
        for number in numbers:
            place = places.get(number)
            values = np.empty(0, np.float32) if place is None else values_in(voxels, labels, number, place)
            found.append(_measured(number, name, unit, values))
    return tuple(found)


def places_in(labels: LabelMap) -> dict[int, Place]:
    """The box around each label that occurs in an (I, J, K) label map."""
    boxes = ndimage.find_objects(labels)
    return {number: box for number, box in enumerate(boxes, start=1) if box is not None}


def channels_in(image: MetaTensor, names: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Name and (I, J, K) voxels of each channel."""
    told: Mapping[int, str] = dict(enumerate(names)) if image.shape[0] > 1 else {}
    for number, channel in enumerate(image.as_tensor()):
        yield told.get(number, "" if image.shape[0] == 1 else str(number + 1)), channel.cpu().numpy()


def _measured(label: int, channel: str, unit: str, values: Values) -> IntensityStatistics:
    if not len(values):
        return IntensityStatistics(label, channel, unit, 0)
    mean = mean_of(values)
    sd = sqrt(mean_of(values, lambda x: (x - mean) ** 2))
    p05, median, p95 = percentiles_of(values, (5, 50, 95))
    return IntensityStatistics(label, channel, unit, len(values), mean, sd, median, p05, p95)
