"""Slices by their grid: the same orientation, matrix, pixel spacing, frame of reference and stack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.io.dicom.geometry import slice_axes
from medseg.io.dicom.header import Header
from medseg.io.dicom.rejections import Refusal
from medseg.spatial.geometry import FloatArray

ORIENTATION_TOLERANCE = 5e-4
"""Cosines that differ by no more are the same orientation, written with three decimals."""
SPACING_TOLERANCE_MM = 1e-4
"""Pixel spacings that differ by no more are the same: 0.05 mm over 512 pixels."""
PLANES = ("sagittal", "coronal", "axial")
"""What slices are called whose normal is closest to x, y, z."""


def grids_of(slices: Sequence[Header]) -> list[list[Header]]:
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


def grid_names(firsts: Sequence[Header]) -> list[str]:
    """What tells grids apart: their plane, their matrix."""
    planes = [PLANES[int(np.abs(slice_axes(first.orientation)[2]).argmax())] for first in firsts]
    sizes = [f"{first.columns}x{first.rows}" for first in firsts]
    words = [column for column in (planes, sizes) if len(set(column)) > 1]
    return ["-".join(word) for word in zip(*words, strict=True)] if words else [""] * len(firsts)


def mixed_grids(groups: Sequence[Sequence[Header]], n_slices: int) -> Refusal:
    """The refusal of slices on several grids that are no volumes of their own."""
    what, remedy = _differences([group[0] for group in groups])
    counts = " + ".join(str(len(group)) for group in groups[:5]) + (" + ..." if len(groups) > 5 else "")
    reason = f"{n_slices} slices of one series have {len(groups)} {what} ({counts}), expected one; {remedy}"
    return Refusal("mixed_orientation" if what.startswith("orientations") else "several_volumes", reason)


def _differences(firsts: Sequence[Header]) -> tuple[str, str]:
    """In what grids differ, and what to do about it."""
    turned = np.ptp([first.orientation for first in firsts], axis=0).max() > ORIENTATION_TOLERANCE
    spaced = np.ptp([first.pixel_spacing_mm for first in firsts], axis=0).max() > SPACING_TOLERANCE_MM
    found = {
        "orientations": bool(turned),
        "image sizes": len({(first.rows, first.columns) for first in firsts}) > 1,
        "pixel spacings": bool(spaced),
        "frames of reference": len({first.frame_of_reference for first in firsts}) > 1,
        "stacks": len({first.stack for first in firsts}) > 1,
    }
    what = " and ".join(name for name, differs in found.items() if differs)
    if what == "frames of reference":
        return what, "give the slices that were scanned together one FrameOfReferenceUID, or export again"
    return what, "export each volume as a series of its own"
