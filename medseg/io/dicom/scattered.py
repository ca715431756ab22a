"""Stacks whose slices name a series of their own each, which looks like many series of one slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from medseg.io.dicom.geometry import MIN_SLICES
from medseg.io.dicom.grouping import Headers, folder_of, grid_of, place_along
from medseg.io.dicom.header import Header
from medseg.io.dicom.rejections import Refusal, refusal_of


def scattered(groups: Sequence[Headers]) -> tuple[list[Headers], list[Headers]]:
    """Separate series of one or two slices that together are a stack.

    Returns:
        The other series, and the stacks.
    """
    stacks: list[Headers] = []
    rest = list(groups)
    for where in (folder_of, _study_of):
        stacks_here: dict[Hashable, list[Headers]] = defaultdict(list)
        for group in rest:
            if len({header.sop_uid or str(header.path) for header in group}) < MIN_SLICES and _may_stack(group):
                stacks_here[(*where(group[0]), group[0].patient, *grid_of(group[0]), group[0].description)].append(
                    group
                )
        found = [parts for parts in stacks_here.values() if _is_scattered(parts)]
        stacks += [[header for part in parts for header in part] for parts in found]
        taken = {id(part) for parts in found for part in parts}
        rest = [group for group in rest if id(group) not in taken]
    return rest, stacks


def _study_of(header: Header) -> tuple[str, ...]:
    return (header.study_uid or str(header.path),)


def _may_stack(group: Headers) -> bool:
    """Whether a series is too small for a volume, and its images are slices."""
    n_images = len({header.sop_uid or str(header.path) for header in group})
    return n_images < MIN_SLICES and all(not header.frames and refusal_of(header) is None for header in group)


def _is_scattered(parts: Sequence[Headers]) -> bool:
    """Whether at least three series have a place of their own each."""
    places = {round(place_along(header), 2) for part in parts for header in part}
    return len(parts) > 1 and len(places) >= max(MIN_SLICES, len(parts))


def scattered_refusal(headers: Sequence[Header]) -> Refusal:
    """The refusal of a stack whose slices name different series or studies."""
    columns = {
        "SeriesInstanceUID": [header.series_uid for header in headers],
        "StudyInstanceUID": [header.study_uid for header in headers],
        "SeriesNumber": [header.series_number for header in headers],
    }
    counts = {name: len(set(values)) for name, values in columns.items()}
    name = max(counts, key=lambda name: counts[name])
    reason = (
        f"{len(headers)} slices of one stack name {counts[name]} values of {name}, expected one for a volume; "
        f"export again, or give the slices of each volume one {name}"
    )
    return Refusal("scattered_series", reason)
