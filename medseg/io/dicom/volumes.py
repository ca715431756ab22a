"""The volumes that lie at the same place within one DICOM series: echoes, b-values, heart phases, time points."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medseg.io.dicom.elements import PHASE_KEYWORDS
from medseg.io.dicom.geometry import MIN_SLICES, SAME_PLACE_MM
from medseg.io.dicom.header import Header
from medseg.spatial.geometry import FloatArray

PLACES_MAY_DIFFER = ("acquisition", "kernel")
"""Runs of a scanner over different lengths of the body may share a series; echoes and time points may not."""
VALUE_IN_NAME = ("b", "type", "kernel")
"""What is named by its value; the rest by its rank: ``echo2`` is the second echo."""

Slices = Sequence[int]


@dataclass(frozen=True)
class Volume:
    """Slices of one volume.

    Attributes:
        name: what tells it from the others, ``echo2-b1000``; empty when it is the only one.
        n_missing: how many places it lacks where the others have a slice.
    """

    headers: tuple[Header, ...]
    name: str = ""
    n_missing: int = 0


def split_volumes(headers: Sequence[Header], axes: FloatArray) -> list[Volume]:
    """Split slices of one grid so that each place occurs once in each volume.

    Args:
        headers: slices of one orientation and size, in any order.
        axes: of `series.slice_axes`.

    Returns:
        The volumes in the order of their echo, b-value ...; one volume with repeated places where nothing in the
        headers tells them apart.
    """
    places = _places(np.array([header.position_mm for header in headers]), axes)
    parts: dict[tuple[str, ...], Slices] = {(): range(len(headers))}
    used: list[str] = []
    for column, kind in enumerate(PHASE_KEYWORDS):
        values = [header.phase[column] if header.phase else "" for header in headers]
        parts, is_split = _refine(parts, places, values, kind in PLACES_MAY_DIFFER)
        used += [kind] * is_split
    parts, is_split = _refine(parts, places, _numbers(headers, places, parts.values()), may_differ=False)
    used += ["volume"] * is_split
    most = max(len({places[n] for n in part}) for part in parts.values())
    names = _names(parts, used)
    return [
        Volume(
            tuple(headers[n] for n in part),
            names[values],
            0 if set(used) & set(PLACES_MAY_DIFFER) else most - len({places[n] for n in part}),
        )
        for values, part in parts.items()
    ]


def _places(positions_mm: FloatArray, axes: FloatArray) -> list[int]:
    """Which place along the stack each slice lies at; slices within 0.01 mm share theirs."""
    along, beside = positions_mm @ axes[2], positions_mm @ axes[:2].T
    order = np.lexsort((beside[:, 1].round(1), beside[:, 0].round(1), along.round(2)))
    steps = [
        abs(along[b] - along[a]) >= SAME_PLACE_MM or np.abs(beside[b] - beside[a]).max() >= SAME_PLACE_MM
        for a, b in pairwise(order)
    ]
    places = np.empty(len(order), dtype=int)
    places[order] = np.concatenate([[0], np.cumsum(steps)])
    return [int(place) for place in places]


def _refine(
    parts: Mapping[tuple[str, ...], Slices], places: Sequence[int], values: Sequence[str], may_differ: bool
) -> tuple[dict[tuple[str, ...], Slices], bool]:
    """Split those parts that hold a place twice by the values, where that gives volumes.

    Returns:
        The parts by the values that single them out, and whether anything was split.
    """
    refined: dict[tuple[str, ...], Slices] = {}
    is_split = False
    for known, part in parts.items():
        groups = defaultdict(list)
        for n in part:
            groups[values[n]].append(n)
        if _has_repeats(part, places) and _are_volumes(list(groups.values()), places, may_differ):
            refined |= {(*known, value): group for value, group in sorted(groups.items(), key=_rank)}
            is_split = True
        else:
            refined[(*known, "")] = part
    return (refined, True) if is_split else (dict(parts), False)


def _has_repeats(part: Slices, places: Sequence[int]) -> bool:
    return len({places[n] for n in part}) < len(part)


def _are_volumes(groups: Sequence[Slices], places: Sequence[int], may_differ: bool) -> bool:
    """Whether at least two of the groups are volumes and the rest is what is left of an interrupted one.

    A value that changes from slice to slice, such as a clock, must not be taken for one that tells volumes apart: a
    volume has every place, or, where lengths may differ, every place between its first and its last.
    """
    if len(groups) < 2:
        return False
    everywhere = {places[n] for group in groups for n in group}
    covered = [{places[n] for n in group} for group in groups]
    if may_differ:
        return all(max(c) - min(c) + 1 == len(c) >= MIN_SLICES for c in covered)
    return sum(c == everywhere for c in covered) >= 1 and sum(len(c) >= MIN_SLICES for c in covered) >= 2


def _numbers(headers: Sequence[Header], places: Sequence[int], parts: Iterable[Slices]) -> list[str]:
    """The volume of each slice of those parts that hold a place twice, by the order of their numbers."""
    numbers = [""] * len(headers)
    for part in parts:
        if _has_repeats(part, places):
            for n, number in zip(part, _by_number([headers[n] for n in part], [places[n] for n in part]), strict=True):
                numbers[n] = number
    return numbers


def _by_number(headers: Sequence[Header], places: Sequence[int]) -> list[str]:
    """The volume of each slice by the order of the numbers, if they count volume by volume or place by place."""
    n_places = len(set(places))
    n_volumes, rest = divmod(len(headers), n_places)
    keys = [(header.instance_number, header.frame) for header in headers]
    nothing = [""] * len(headers)
    if rest or n_volumes < 2 or len(set(keys)) < len(keys):
        return nothing
    order = sorted(range(len(headers)), key=keys.__getitem__)
    grid = np.array([places[n] for n in order])
    volume_of = np.empty(len(headers), dtype=int)
    if (grid.reshape(n_volumes, n_places) == grid[:n_places]).all() and len(set(grid[:n_places])) == n_places:
        volume_of[order] = np.repeat(np.arange(n_volumes), n_places)
    elif (grid.reshape(n_places, n_volumes) == grid[::n_volumes, None]).all():
        volume_of[order] = np.tile(np.arange(n_volumes), n_places)
    else:
        return nothing
    return [str(number) for number in volume_of]


def _rank(item: tuple[str, Slices]) -> tuple[float, str]:
    return _number(item[0]), item[0]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _names(parts: Mapping[tuple[str, ...], Slices], used: Sequence[str]) -> dict[tuple[str, ...], str]:
    """``echo2-b1000``: for each value that tells parts apart, its kind and its value or rank."""
    columns = [sorted({values[c] for values in parts} - {""}, key=lambda v: (_number(v), v)) for c in range(len(used))]
    return {
        values: "-".join(
            _word(kind, value, known) for kind, value, known in zip(used, values, columns, strict=False) if value
        )
        for values in parts
    }


def _word(kind: str, value: str, known: Sequence[str]) -> str:
    """How one value is called among the `known` ones."""
    if kind == "type":
        shared = set.intersection(*(set(text.split("\\")) for text in known))
        value = "-".join(token for token in value.split("\\") if token not in shared)
        return _plain(value) or "plain"
    if kind in VALUE_IN_NAME:
        return f"{kind}{_plain(value)}"
    return f"{kind}{list(known).index(value) + 1}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:24]
