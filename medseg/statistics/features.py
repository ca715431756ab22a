"""Features of every label of a scan by the definitions of the IBSI: ``radiomics.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from medseg.spatial.geometry import Geometry
from medseg.statistics import autocorrelation as correlation
from medseg.statistics import first_order as order
from medseg.statistics import morphology as shape
from medseg.statistics.intensity import LabelMap, channels_in, places_in
from medseg.statistics.values import values_in

NAMES = (*order.NAMES, *shape.NAMES, "morph_com", "morph_integ_int", *correlation.NAMES)
"""In the order of the columns."""


@dataclass(frozen=True)
class LabelFeatures:
    """Features of one label in one channel.

    Attributes:
        channel: its name; empty for a scan of one channel.
        unit: of the intensities.
        values: by the names of `NAMES`; what is not defined, or would cost too much, is not there.
    """

    label: int
    channel: str
    unit: str
    values: dict[str, float] = field(default_factory=dict)


def label_features(
    image: MetaTensor, labels: LabelMap, numbers: Sequence[int], *, unit: str, channels: Sequence[str] = ()
) -> tuple[LabelFeatures, ...]:
    """Features of those labels of `numbers` that occur; arguments as of `intensity_statistics`."""
    places, spacing_mm = places_in(labels), Geometry.of(image).spacing_mm
    there = [number for number in numbers if number in places]
    shapes = {number: shape.morphology(labels[places[number]] == number, spacing_mm) for number in there}
    found = []
    for name, voxels in channels_in(image, channels):
        for number in there:
            box = places[number]
            values = dict(shapes[number])
            values |= order.first_order(values_in(voxels, labels, number, box))
            values["morph_integ_int"] = values["morph_vol"] * values["stat_mean"]
            inside = labels[box] == number
            values |= _centre_shift(voxels[box], inside, spacing_mm)
            values |= correlation.autocorrelation(voxels[box], inside, spacing_mm)
            found.append(LabelFeatures(number, name, unit, {key: values[key] for key in NAMES if key in values}))
    return tuple(found)


def _centre_shift(
    voxels: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], spacing_mm: Sequence[float]
) -> dict[str, float]:
    """Distance in mm between the centre of the voxels and that of their intensities; none where these sum to 0."""
    weight, plain, weighted = 0.0, np.zeros(3), np.zeros(3)
    for indices, values in _planes(voxels, inside):
        weight += float(values.sum())
        plain += indices.sum(axis=0)
        weighted += values @ indices
    if weight == 0:
        return {}
    apart = (plain / int(inside.sum()) - weighted / weight) * np.asarray(spacing_mm)
    return {"morph_com": float(np.linalg.norm(apart))}


def _planes(
    voxels: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """(V, 3) indices and (V,) intensities of the voxels inside, plane by plane."""
    for number, (plane, mask) in enumerate(zip(voxels, inside, strict=True)):
        at = np.argwhere(mask)
        yield np.column_stack([np.full(len(at), number), at]).astype(np.float64), plane[mask].astype(np.float64)
