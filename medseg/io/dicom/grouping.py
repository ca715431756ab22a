"""Which files form a series. A SeriesInstanceUID alone does not say it: exports and anonymisers reuse and remove it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from medseg.io.dicom.header import Header

Headers = list[Header]


def series_groups(headers: Iterable[Header]) -> list[Headers]:
    """The files of each series, in the order of their UIDs.

    One UID in two studies, of two patients, or numbered anew in each folder is several series. Files without a
    series UID belong together when they lie in one folder and number, description, protocol and kind agree.
    """
    groups = split_by(headers, _series)
    owned = [part for group in groups for part in split_by(group, _owners(group))]
    return [part for group in owned for part in (split_by(group, folder_of) if _is_numbered_anew(group) else [group])]


def split_by(headers: Iterable[Header], key: Callable[[Header], tuple[str, ...]]) -> list[Headers]:
    """The files of each key, in the order of the keys."""
    groups: dict[tuple[str, ...], Headers] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return [groups[name] for name in sorted(groups)]


def _series(header: Header) -> tuple[str, ...]:
    if header.series_uid:
        return (header.series_uid,)
    kind = (header.modality, str(header.sop_class), header.series_number, header.description, header.protocol)
    return ("", str(header.path.parent), *kind)


def folder_of(header: Header) -> tuple[str, ...]:
    """The folder of a file, as a key of `split_by`."""
    return (str(header.path.parent),)


def _owners(headers: Sequence[Header]) -> Callable[[Header], tuple[str, ...]]:
    """Study and patient of a file, as far as the files contradict each other; a missing value is no contradiction."""
    rows = [(header.study_uid, *header.patient) for header in headers]
    columns = list(zip(*rows, strict=True))
    used = [n for n, column in enumerate(columns) if len(set(column) - {""}) > 1]
    return lambda header: tuple((header.study_uid, *header.patient)[n] for n in used)


def patient_of(headers: Sequence[Header]) -> tuple[str, ...]:
    """Hashes of what names the patient of a series, each from the first file that says it."""
    columns = zip(*(header.patient for header in headers if header.patient), strict=True)
    return tuple(next(filter(None, column), "") for column in columns)


def grid_of(header: Header) -> tuple[object, ...]:
    """What the slices of a stack share, to three decimals."""
    numbers = [round(number, 3) for number in (*header.orientation, *header.pixel_spacing_mm)]
    return (header.sop_class, header.modality, header.rows, header.columns, *numbers)


def _place(header: Header) -> tuple[float, ...]:
    return (header.frames or (header,))[0].position_mm


def _is_numbered_anew(headers: Sequence[Header]) -> bool:
    """Whether folders hold different images of the same number, at different places of one grid."""
    if len({header.path.parent for header in headers}) < 2:
        return False
    seen: dict[Hashable, Header] = {}
    for header in headers:
        first = seen.setdefault((header.instance_number, grid_of(header)), header)
        is_other = first.path.parent != header.path.parent and _place(first) != _place(header)
        if is_other and header.instance_number and not (first.sop_uid and first.sop_uid == header.sop_uid):
            return True
    return False


def place_along(header: Header) -> float:
    """Where a slice lies along its normal, in mm."""
    row, column = np.array(header.orientation).reshape(2, 3)
    return float(np.cross(row, column) @ header.position_mm)
