"""Which numbers of a scan stay true when its labels change: those of labels that are made of the same voxels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isclose
from typing import TypeVar

from medseg.model.model import Model
from medseg.model.record import Record
from medseg.statistics.features import LabelFeatures
from medseg.statistics.intensity import IntensityStatistics

_Measured = TypeVar("_Measured", IntensityStatistics, LabelFeatures)


def with_numbers_kept(record: Record, volumes_mm3: Mapping[int, float], before: Model, model: Model) -> Record:
    """The record with the new volumes, and with statistics of the labels that stay what they were, by their new number.

    What a merge or a cut makes of several labels has percentiles that theirs do not tell: it has to be measured.
    """
    same = {
        old: new
        for old, leaves in before.scheme.leaves.items()
        for new, others in model.scheme.leaves.items()
        if leaves == others and isclose(record.volumes_mm3.get(old, 0.0), volumes_mm3.get(new, 0.0), rel_tol=1e-9)
    }
    statistics, radiomics = _renumbered(record.statistics, same), _renumbered(record.radiomics, same)
    return replace(record, volumes_mm3=dict(volumes_mm3), statistics=statistics, radiomics=radiomics)


def lacks_numbers(record: Record) -> bool:
    """Whether a label of a scan has a volume and no statistics."""
    known = {one.label for one in record.statistics}
    return any(number not in known for number in record.volumes_mm3)


def _renumbered(measured: Iterable[_Measured], same: Mapping[int, int]) -> tuple[_Measured, ...]:
    kept = [replace(one, label=same[one.label]) for one in measured if one.label in same]
    channels = list(dict.fromkeys(one.channel for one in kept))
    return tuple(sorted(kept, key=lambda one: (channels.index(one.channel), one.label)))
