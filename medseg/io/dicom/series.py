"""Verdicts on the DICOM files of one series: which of them form a volume, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.errors import InputError
from medseg.io.dicom.copies import without_copies
from medseg.io.dicom.doubts import check_one_series, doubt_about
from medseg.io.dicom.geometry import place_slices, slice_axes
from medseg.io.dicom.grids import grid_names, grids_of, mixed_grids
from medseg.io.dicom.grouping import series_groups
from medseg.io.dicom.header import Header
from medseg.io.dicom.regrid import Regrid, plan_regrid
from medseg.io.dicom.rejections import Refusal, check_pixels, check_size, refusal_of
from medseg.io.dicom.rescale import check_rescale
from medseg.io.dicom.scattered import scattered, scattered_refusal
from medseg.io.dicom.volumes import Volume, split_volumes
from medseg.spatial.geometry import FloatArray, Geometry

SCREENSHOT = Refusal("not_a_volume", "found screenshots beside the images of a scanner; leave them out")
REGRIDDABLE = ("gantry_tilt", "nonuniform_spacing")
"""What resampling can put right; what was never scanned stays missing."""


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


@dataclass(frozen=True)
class Series:
    """The files of one series, and what they are."""

    headers: tuple[Header, ...]
    parts: tuple[Judged, ...]


def judge_files(headers: Iterable[Header], *, regrid: bool = False) -> list[Series]:
    """Judge the files of any number of series, series by series in the order of their UIDs.

    Args:
        regrid: accept tilted and unevenly spaced slices, to be resampled onto a regular grid.
    """
    groups, stacks = scattered(series_groups(headers))
    judged = [Series(tuple(group), tuple(judge_series(group, regrid=regrid))) for group in groups]
    refused = [Series(tuple(stack), (Judged(tuple(stack), refusal=scattered_refusal(stack)),)) for stack in stacks]
    return judged + refused


def judge_series(headers: Sequence[Header], *, regrid: bool = False) -> list[Judged]:
    """Split the files of one series into what belongs together and judge each part.

    Returns:
        The volumes first, then the refused parts; the larger before the smaller.
    """
    kept, contradiction = without_copies(headers)
    ordered = sorted(kept, key=lambda header: (header.instance_number, header.path))
    if contradiction:
        return [Judged(tuple(ordered), refusal=contradiction)]
    refused, whole = _refused(ordered)
    parts = [Judged(tuple(members), refusal=refusal) for refusal, members in refused.values()]
    slices = [frame for header in whole for frame in header.frames or (header,)]
    if slices:
        doubt = doubt_about(slices)
        parts += [Judged(tuple(slices), refusal=doubt)] if doubt else _judge_grids(grids_of(slices), regrid)
    return sorted(parts, key=lambda part: (part.refusal is not None, -len(part.headers)))


def _refused(ordered: Sequence[Header]) -> tuple[dict[str, tuple[Refusal, list[Header]]], list[Header]]:
    """The files that can be no slice, by the code of their first refusal, and the others."""
    refused: dict[str, tuple[Refusal, list[Header]]] = {}
    whole: list[Header] = []
    refusals = [refusal_of(header) for header in ordered]
    is_scan = any(not (refusal or header.is_derived) for header, refusal in zip(ordered, refusals, strict=True))
    for header, own in zip(ordered, refusals, strict=True):
        refusal = own or (SCREENSHOT if header.is_derived and is_scan else None)
        if refusal:
            refused.setdefault(refusal.code, (refusal, []))[1].append(header)
        else:
            whole.append(header)
    return dict(sorted(refused.items())), whole


def _judge_grids(groups: list[list[Header]], regrid: bool) -> list[Judged]:
    """Judge the groups of `grids_of`.

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
    names = grid_names([groups[n][0] for n in standing])
    parts = [
        replace(part, name="-".join(filter(None, (name, part.name))))
        for n, name in zip(standing, names, strict=True)
        for part in judged[n]
    ]
    rest = tuple(header for n, group in enumerate(groups) if n not in standing for header in group)
    return [*parts, Judged(rest, refusal=mixed_grids(groups, n_slices))] if rest else parts


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
        check_one_series(headers)
        check_rescale(
            [header.rescale for header in headers],
            is_hounsfield=any(header.is_hounsfield for header in headers),
            is_enhanced=headers[0].frame >= 0,
        )
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
