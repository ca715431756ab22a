"""Verdicts on the DICOM files of one series: which of them form a volume, and what is wrong with the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from medseg.errors import InputError
from medseg.io.dicom.geometry import place_slices, slice_axes
from medseg.io.dicom.header import Header
from medseg.io.dicom.regrid import Regrid, plan_regrid
from medseg.io.dicom.rejections import Refusal, check_pixels, check_size, is_decodable, refusal_of
from medseg.io.dicom.volumes import Volume, split_volumes
from medseg.spatial.geometry import FloatArray, Geometry

log = logging.getLogger(__name__)

ORIENTATION_TOLERANCE = 5e-4
"""Cosines that differ by no more are the same orientation, written with three decimals."""
SPACING_TOLERANCE_MM = 1e-4
"""Pixel spacings that differ by no more are the same: 0.05 mm over 512 pixels."""
REGRIDDABLE = ("gantry_tilt", "nonuniform_spacing")
"""What resampling can put right; what was never scanned stays missing."""
PLANES = ("sagittal", "coronal", "axial")
"""What slices are called whose normal is closest to x, y, z."""


@dataclass(frozen=True)
class Judged:
    """Files of one series that belong together, in the order of their slices.

    Attributes:
        geometry: the grid when the files are one regular volume, else None.
        refusal: why they are not, else None.
        name: what tells this volume from the others of the series; empty when it is the only one.
        regrid: how its slices are brought onto that grid when they do not lie on it.
    """

    headers: tuple[Header, ...]
    geometry: Geometry | None = None
    refusal: Refusal | None = None
    name: str = ""
    regrid: Regrid | None = None


def judge_series(headers: Sequence[Header], *, regrid: bool = False) -> list[Judged]:
    """Split the files of one SeriesInstanceUID into what belongs together and judge each part.

    Args:
        regrid: accept tilted and unevenly spaced slices, to be resampled onto a regular grid.

    Returns:
        The volumes first, then the refused parts; the larger before the smaller.
    """
    ordered = sorted(_without_copies(headers), key=lambda header: (header.instance_number, header.path))
    refusals = [refusal_of(header) for header in ordered]
    codes = sorted({refusal.code for refusal in refusals if refusal})
    parts = []
    for code in codes:
        refused = [(h, r) for h, r in zip(ordered, refusals, strict=True) if r and r.code == code]
        parts.append(Judged(tuple(header for header, _ in refused), refusal=refused[0][1]))
    whole = [header for header, refusal in zip(ordered, refusals, strict=True) if not refusal]
    slices = [frame for header in whole for frame in header.frames or (header,)]
    if slices:
        parts += _judge_grids(_grids(slices), regrid)
    return sorted(parts, key=lambda part: (part.refusal is not None, -len(part.headers)))


def _without_copies(headers: Sequence[Header]) -> list[Header]:
    """Drop files that are copies of another, the same SOP instance at the same place; the readable one stays."""
    kept: dict[tuple[object, ...], Header] = {}
    for header in sorted(headers, key=lambda h: (h.missing_bytes, not is_decodable(h.transfer_syntax), h.path)):
        name = header.sop_uid or str(header.path)
        key = (name, header.frame, header.position_mm, header.orientation, header.rows, header.columns, header.phase)
        kept.setdefault(key, header)
    if len(kept) < len(headers):
        log.info("%d copies of files are left out", len(headers) - len(kept))
    return list(kept.values())


def _grids(slices: Sequence[Header]) -> list[list[Header]]:
    """Slices of the same orientation, matrix, pixel spacing, frame of reference and stack; the most numerous first."""
    leaders: list[tuple[tuple[object, ...], FloatArray, list[Header]]] = []
    cache_of: dict[tuple[object, ...], list[Header]] = {}
    for header in slices:
        exact = (header.rows, header.columns, header.frame_of_reference, header.stack)
        numbers = np.array([*header.orientation, *header.pixel_spacing_mm])
        key = (*exact, *numbers.tolist())
        if key not in cache_of:
            cache_of[key] = _group_near(leaders, exact, numbers)
        cache_of[key].append(header)
    return sorted((group for _, _, group in leaders), key=len, reverse=True)


def _group_near(
    leaders: list[tuple[tuple[object, ...], FloatArray, list[Header]]],
    exact: tuple[object, ...],
    numbers: FloatArray,
) -> list[Header]:
    """The group whose first slice has this grid; a new one if there is none."""
    tolerance = np.array([ORIENTATION_TOLERANCE] * 6 + [SPACING_TOLERANCE_MM] * 2)
    for other, other_numbers, group in leaders:
        if other == exact and bool((np.abs(numbers - other_numbers) <= tolerance).all()):
            return group
    leaders.append((exact, numbers, []))
    return leaders[-1][2]


def _judge_grids(groups: list[list[Header]], regrid: bool) -> list[Judged]:
    """Judge the groups of `_grids`.

    Each that holds a volume stands on its own when these are more than half of the slices; so does a group of more
    than half. What is left is refused together: it is unclear what the series was meant to be.
    """
    judged = [_judge_grid(group, regrid) for group in groups]
    if len(groups) == 1:
        return judged[0]
    n_slices = sum(len(group) for group in groups)
    standing = [n for n, parts in enumerate(judged) if any(part.geometry for part in parts)]
    if 2 * sum(len(groups[n]) for n in standing) <= n_slices:
        standing = []
    if 2 * len(groups[0]) > n_slices:
        standing = sorted({0, *standing})
    names = _grid_names([groups[n][0] for n in standing])
    parts = [
        replace(part, name="-".join(filter(None, (name, part.name))))
        for n, name in zip(standing, names, strict=True)
        for part in judged[n]
    ]
    rest = tuple(header for n, group in enumerate(groups) if n not in standing for header in group)
    return [*parts, Judged(rest, refusal=_mixed(groups, n_slices))] if rest else parts


def _grid_names(firsts: Sequence[Header]) -> list[str]:
    """What tells grids apart: their plane, their matrix."""
    planes = [PLANES[int(np.abs(slice_axes(first.orientation)[2]).argmax())] for first in firsts]
    sizes = [f"{first.columns}x{first.rows}" for first in firsts]
    words = [column for column in (planes, sizes) if len(set(column)) > 1]
    return ["-".join(word) for word in zip(*words, strict=True)] if words else [""] * len(firsts)


def _mixed(groups: list[list[Header]], n_slices: int) -> Refusal:
    first = groups[0][0]
    is_turned = any(
        np.abs(np.subtract(group[0].orientation, first.orientation)).max() > ORIENTATION_TOLERANCE
        for group in groups[1:]
    )
    what = "orientations" if is_turned else "image sizes, pixel spacings or frames of reference"
    counts = " + ".join(str(len(group)) for group in groups[:5]) + (" + ..." if len(groups) > 5 else "")
    reason = (
        f"{n_slices} slices of one series have {len(groups)} {what} ({counts}), expected one; "
        "export each volume as a series of its own"
    )
    return Refusal("mixed_orientation" if is_turned else "several_volumes", reason)


def _judge_grid(slices: list[Header], regrid: bool) -> list[Judged]:
    """Judge slices of one grid: the volumes that they hold, each by its positions, completeness and encoding."""
    try:
        axes = slice_axes(np.mean([header.orientation for header in slices], axis=0))
    except InputError as error:
        return [Judged(tuple(slices), refusal=Refusal(error.code, str(error)))]
    return [_judge_volume(volume, axes, regrid) for volume in split_volumes(slices, axes)]


def _judge_volume(volume: Volume, axes: FloatArray, regrid: bool) -> Judged:
    positions = np.array([header.position_mm for header in volume.headers], dtype=np.float64)
    order = np.argsort(positions @ axes[2], kind="stable")
    headers = tuple(volume.headers[index] for index in order)
    try:
        if volume.n_missing:
            raise InputError(
                f"{volume.name} has {len(headers)} slices, its sister volumes {len(headers) + volume.n_missing}, "
                "expected as many; export the series again",
                code="missing_slices",
            )
        for header in headers:
            check_pixels(header)
        geometry, how = _place(headers, positions[order], axes, regrid)
        check_size(geometry)
        return Judged(headers, geometry, name=volume.name, regrid=how)
    except InputError as error:
        return Judged(headers, refusal=Refusal(error.code, str(error)), name=volume.name)


def _place(
    headers: Sequence[Header], positions_mm: FloatArray, axes: FloatArray, regrid: bool
) -> tuple[Geometry, Regrid | None]:
    """The grid of ordered slices, and how to bring them onto it when they do not lie on it."""
    pixel_spacing = np.mean([header.pixel_spacing_mm for header in headers], axis=0)
    matrix = (headers[0].columns, headers[0].rows)
    try:
        phases = [header.phase for header in headers]
        return place_slices(positions_mm, axes, pixel_spacing, matrix, phases), None
    except InputError as error:
        if not regrid or error.code not in REGRIDDABLE:
            raise
    how = plan_regrid(positions_mm, axes, pixel_spacing, matrix)
    return how.target, how


def judge_files(headers: Sequence[Header], *, regrid: bool = False) -> list[Judged]:
    """Judge the files of any number of series, series by series in the order of their UIDs."""
    ordered = sorted(headers, key=series_key)
    groups = groupby(ordered, key=series_key)
    return [part for _, group in groups for part in judge_series(list(group), regrid=regrid)]


def series_key(header: Header) -> str:
    """What the files of one series share: its UID, or their folder where they name none."""
    return header.series_uid or f"no series UID, {header.path.parent}"
