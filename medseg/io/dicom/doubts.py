"""What speaks against files of one series being one volume though their places are regular."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medseg.errors import InputError
from medseg.io.dicom.elements import PHASE_KEYWORDS
from medseg.io.dicom.geometry import GAP_TOLERANCE, MIN_SLICES, SAME_PLACE_MM
from medseg.io.dicom.grouping import folder_of, grid_of, place_along, split_by
from medseg.io.dicom.header import Header
from medseg.io.dicom.rejections import Refusal

ONE_VALUE = ("type", "echo", "inversion", "b", "acquisition", "kernel")
"""Of `PHASE_KEYWORDS`, what does not change within a volume."""


def doubt_about(headers: Sequence[Header]) -> Refusal | None:
    """Why files that are one series by their headers may be several; None when nothing speaks for it."""
    folders = split_by(headers, folder_of)
    is_many = any(header.frame >= 0 for header in headers) or len({grid_of(header) for header in headers}) > 1
    if len(folders) < 2 or is_many:
        return None
    along = [[place_along(header) for header in folder] for folder in folders]
    places = sorted((place, n) for n, folder in enumerate(along) for place in folder)
    n_changes = sum(a[1] != b[1] for a, b in pairwise(places))
    is_apart = all(b[0] - a[0] >= SAME_PLACE_MM for a, b in pairwise(places))
    is_said = n_changes < len(folders) and len({header.instance_number for header in headers}) == len(headers)
    if is_said or not is_apart or not all(_is_stack(folder) for folder in along):
        return None
    reason = (
        f"{len(folders)} folders hold a regular volume each under one SeriesInstanceUID, and nothing says whether they "
        "are one, expected one volume in one folder; inspect each folder alone, or put what belongs together into one"
    )
    return Refusal("several_volumes", reason)


def _is_stack(along: Sequence[float]) -> bool:
    """Whether slices at these places are a volume without gaps."""
    gaps = np.diff(sorted(along))
    return len(along) >= MIN_SLICES and bool(np.ptp(gaps) <= GAP_TOLERANCE * max(gaps.max(), 1.0))


def check_one_series(headers: Sequence[Header]) -> None:
    """Refuse slices of one volume, whose places are regular, that look like several series.

    Raises:
        InputError: ``several_volumes``.
    """
    if message := _repeated_numbers(headers) or _different_values(headers):
        raise InputError(message, code="several_volumes")


def _repeated_numbers(headers: Sequence[Header]) -> str:
    """Of slices with image numbers, that some have the number of another; frames have the number of their file."""
    numbers = [header.instance_number for header in headers if header.frame < 0]
    n_repeats = len(numbers) - len(set(numbers))
    if not n_repeats or len(set(numbers)) == 1:
        return ""
    verb = "has" if n_repeats == 1 else "have"
    return (
        f"{n_repeats} of {len(headers)} slices {verb} the image number of another, as if two series were mixed, "
        "expected a number for each; separate the series or export them again"
    )


def _different_values(headers: Sequence[Header]) -> str:
    """Of slices without a series UID, in what they differ though slices of one volume do not."""
    if headers[0].series_uid:
        return ""
    for kind, *values in zip(PHASE_KEYWORDS, *(header.phase for header in headers), strict=False):
        counts = [values.count(value) for value in set(values)]
        if kind in ONE_VALUE and len(counts) > 1 and min(counts) >= MIN_SLICES:
            return (
                f"{len(headers)} slices without SeriesInstanceUID differ in their {kind} ({len(counts)} values), as if "
                "series were mixed, expected one series; put each into a folder of its own, or export with UIDs"
            )
    return ""
