"""Which scans are channels of one scan: T1 and FLAIR of one visit, by their names or their DICOM headers."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from medseg.config import ChannelsConfig
from medseg.errors import InputError
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry

LEAST_COVERED = 0.5
"""Least share of the first channel's voxels that lie inside the field of view of each other channel."""
_POINTS = 24
"""Points along each axis of the first channel at which this is looked at."""
_SUFFIX = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|mgz|mgh)$", re.IGNORECASE)
Key = tuple[Hashable, ...]
Part = tuple[int, Scan]
"""Number of the channel from 0, and its file or series."""


def group_channels(scans: Sequence[Scan], channels: ChannelsConfig) -> list[Scan]:
    """One scan for each case: its first channel, which holds the others; `read_scan` gives them on its grid.

    What cannot be put together (a channel missing or there twice, no common frame, a channel that is refused itself)
    is one refused scan. Files that are none of the channels are left out.

    Args:
        scans: of `find_scans`; returned as they are when `channels` names none.
    """
    if not channels.names:
        return list(scans)
    cases: dict[Key, list[Part]] = {}
    alone = []
    for scan in scans:
        place = _RULES[channels.by](scan, channels.names)
        if place is not None:
            cases.setdefault(place[0], []).append((place[1], scan))
        elif channels.by == "series" and scan.format == "dicom" and scan.series is None:
            alone.append(scan)  # damaged: nobody knows which channel it is
    return sorted([*alone, *(_case(parts, channels) for parts in cases.values())], key=lambda scan: scan.id)


Place = tuple[Key, int]
"""What the channels of one case have in common, and the number of the channel from 0."""


def _by_entities(scan: Scan, names: Sequence[str]) -> Place | None:
    """BIDS: the suffix is the channel; subject, session and run are the case."""
    before, _, last = _stem(scan).rpartition("_")
    known = dict(part.split("-", 1) for part in before.split("_") if "-" in part)
    if "sub" not in known or last not in names:
        return None
    return (scan.path.parent, *(known.get(entity, "") for entity in ("sub", "ses", "run"))), names.index(last)


def _by_ending(scan: Scan, names: Sequence[str]) -> Place | None:
    """``case_T1`` and ``case-T1``; the longest name that fits."""
    stem = _stem(scan)
    ends = [name for name in names if re.fullmatch(rf".+[_-]{re.escape(name)}", stem)]
    if not ends:
        return None
    name = max(ends, key=len)
    return (scan.path.parent, stem[: -len(name) - 1]), names.index(name)


def _by_number(scan: Scan, names: Sequence[str]) -> Place | None:
    """nnU-Net: ``case_0001`` is the second channel."""
    found = re.fullmatch(r"(.+)_(\d{4})", _stem(scan))
    if not found or int(found[2]) >= len(names):
        return None
    return (scan.path.parent, found[1]), int(found[2])


def _by_series(scan: Scan, names: Sequence[str]) -> Place | None:
    """DICOM: the series description is the channel, the study is the case."""
    if scan.series is None:
        return None
    described = scan.free_text.description.casefold()
    found = [number for number, name in enumerate(names) if fnmatchcase(described, name.casefold())]
    return ((scan.series.study or scan.id,), found[0]) if found else None


def _stem(scan: Scan) -> str:
    """The name of a file of one volume without its ending; of DICOM nothing that tells a channel."""
    return _SUFFIX.sub("", scan.path.name) if scan.format != "dicom" else ""


_RULES = {"bids": _by_entities, "suffix": _by_ending, "nnunet": _by_number, "series": _by_series}


def _case(parts: list[Part], channels: ChannelsConfig) -> Scan:
    """The first channel with the others in it, or refused."""
    parts = sorted(parts, key=lambda part: (part[0], part[1].id))
    first = parts[0][1]
    if channels.by == "nnunet":
        first = replace(first, id=first.id.removesuffix(f"_{parts[0][0]:04d}"))
    try:
        _check(parts, channels)
    except InputError as error:
        return replace(first, verdict=error.code, reason=str(error))
    return replace(first, more_channels=tuple(scan for _, scan in parts[1:]), registration=channels.register)


def _check(parts: Sequence[Part], channels: ChannelsConfig) -> None:
    """Refuse what cannot be one scan.

    Raises:
        InputError: ``missing_channel``, ``ambiguous_channel``, ``no_common_frame``, ``mixed_modality``, or the reason
            for which a channel is refused itself.
    """
    names, numbers = channels.names, [number for number, _ in parts]
    for number, name in enumerate(names):
        if numbers.count(number) > 1:
            twice = ", ".join(scan.id for n, scan in parts if n == number)
            raise InputError(f"found {numbers.count(number)} scans for channel {name} ({twice}), expected one; "
                             "leave the others out with a .txt list of files", code="ambiguous_channel")  # fmt: skip
    missing = [name for number, name in enumerate(names) if number not in numbers]
    if missing:
        there = ", ".join(names[number] for number in numbers)
        raise InputError(f"found channel {there}, expected {', '.join(names)}; add {', '.join(missing)} or leave this "
                         "scan out", code="missing_channel")  # fmt: skip
    for number, scan in parts:
        if not scan.is_ok:
            raise InputError(f"channel {names[number]}: {scan.reason}", code=scan.verdict)
    first = parts[0][1]
    for number, scan in parts[1:]:
        _check_modality(first, scan, names[0], names[number])
        if channels.register == "none":
            _check_frame(first, scan, names[0], names[number])


def _check_modality(first: Scan, other: Scan, first_name: str, name: str) -> None:
    """Refuse two channels that are not of one kind."""
    if first.modality != other.modality:
        raise InputError(f"channel {first_name} is {first.modality} and {name} is {other.modality}, expected one "
                         "modality; leave one of them out", code="mixed_modality")  # fmt: skip


def _check_frame(first: Scan, other: Scan, first_name: str, name: str) -> None:
    """Refuse two channels that do not lie in one space; those that are registered need not."""
    frames = [scan.series.frame_of_reference for scan in (first, other) if scan.series]
    if len(frames) == 2 and (not frames[0] or frames[0] != frames[1]):
        raise InputError(f"channels {first_name} and {name} have no common frame of reference, expected one; the "
                         "patient may have moved between them, register them (channels.register=rigid)",
                         code="no_common_frame")  # fmt: skip
    if first.geometry is None or other.geometry is None:
        return
    share = covered_share(first.geometry, other.geometry)
    if share < LEAST_COVERED:
        raise InputError(f"channel {name} covers {100 * share:.0f} % of channel {first_name}, expected at least "
                         f"{100 * LEAST_COVERED:.0f} %; check the headers or register them (channels.register=rigid)",
                         code="no_common_frame")  # fmt: skip


def covered_share(first: Geometry, other: Geometry) -> float:
    """Share of the voxels of `first` whose centres lie inside the field of view of `other`, from a sample."""
    axes = [np.linspace(0, n - 1, min(n, _POINTS)) for n in first.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    places = other.to_index(first.to_world(points))
    return float(((places >= -0.5) & (places <= np.asarray(other.shape) - 0.5)).all(axis=1).mean())
