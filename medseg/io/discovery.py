"""Find every scan below a folder, in a file or in a list of paths, and judge each by its headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from medseg.errors import ConfigError, InputError, one_line
from medseg.io.absent import is_accident, is_missing, is_packed, is_raw, missing_series, packed_series
from medseg.io.dicom.dicomdir import is_dicomdir
from medseg.io.dicom.grouping import patient_of, series_groups
from medseg.io.dicom.header import Header
from medseg.io.dicom.naming import damaged_id, relative, series_id
from medseg.io.dicom.read_headers import read_header
from medseg.io.dicom.series import Judged, judge_files
from medseg.io.file_kinds import kind_of, start_of
from medseg.io.file_scans import file_scans, is_file_scan, listed_but_missing, unique
from medseg.io.names import safe_name, safe_path
from medseg.io.scan import FreeText, Scan, SeriesTags
from medseg.io.selection import Selection
from medseg.io.walk import below, entries_of, root_of


def find_scans(
    source: Path | str, *, keep_names: bool = False, regrid: bool = False, selection: Selection | None = None
) -> list[Scan]:
    """Find and judge every scan of `source` by its headers, and where these leave it open, by a part of its voxels.

    Args:
        source: a folder, searched recursively without following linked folders or entering hidden ones; a file of
            one volume (NIfTI, NRRD, MetaImage, MGH); a DICOM file, which stands for its series in its folder; a
            DICOMDIR, which stands for the files it lists; or a ``.txt`` list of such paths, one a line, relative to
            the folder of the list.
        keep_names: name DICOM scans after their folders too, which in hospitals are named after patients.
        selection: patterns of what to take and what to leave out.
        regrid: accept tilted and unevenly spaced scans; `read_scan` resamples them onto a regular grid.

    Returns:
        One scan per file of one volume and per volume of a DICOM series, refused ones and label maps included, sorted
        by id. Files named ``<scan>_seg`` or ``<scan>.seg.nrrd`` beside their scan are left out.

    Raises:
        ConfigError: `source`, or a path in the list, is missing, unreadable or no scan.
    """
    source = Path(source)
    entries = entries_of(source)
    root = root_of(source, entries)
    walked = dict.fromkeys(path for entry in entries for path in below(entry))
    named = [entry for entry in entries if not (entry.is_dir() or is_dicomdir(entry)) and entry not in walked]
    files = [path for path in (*walked, *named) if is_file_scan(path)]
    naming, chosen = _Naming(root, keep_names), selection or Selection()
    rest = [path for path in walked if not is_file_scan(path)], [path for path in named if not is_file_scan(path)]
    scans = _series_scans(*rest, naming, regrid=regrid)
    scans = [scan for scan in scans if chosen.takes(_names_of(scan, root))]
    tables = [path for path in walked if path.name.endswith("_scans.tsv")]
    missing = [scan for scan in listed_but_missing(tables, walked, root) if chosen.takes(_names_of(scan, root))]
    every = file_scans(files, scans, root, chosen) + scans + missing
    return sorted((scan for scan in every if chosen.takes_series(scan)), key=lambda scan: scan.id)


class _Naming(NamedTuple):
    """How DICOM scans are named: relative to a folder, with or without the names of folders."""

    root: Path
    keep_names: bool


def _names_of(scan: Scan, root: Path) -> Iterator[str]:
    """What patterns can match: the id and the paths of the files."""
    yield scan.id
    yield from (relative(path, root) for path in scan.paths)


def _series_scans(walked: Sequence[Path], named: Sequence[Path], naming: _Naming, *, regrid: bool) -> list[Scan]:
    """The DICOM series among files, and the series of the files that are named."""
    gone = {path for path in walked if not is_raw(path) and is_missing(path)}
    headers, damaged = _read_headers(path for path in walked if path not in gone and not is_raw(path))
    more_headers, more_damaged = _series_of(named, dict.fromkeys(walked))
    missing = missing_series(gone, naming.root, keep_names=naming.keep_names)
    packed = [path for path in walked if path not in gone and is_packed(path)]
    missing += packed_series(packed, naming.root, keep_names=naming.keep_names)
    return missing + _dicom_scans(headers + more_headers, {**damaged, **more_damaged}, naming, regrid=regrid)


def _read_headers(paths: Iterable[Path]) -> tuple[list[Header], dict[Path, InputError]]:
    """The headers of the DICOM files among `paths`, and what is wrong with the damaged ones."""
    headers, damaged = [], {}
    for path in paths:
        try:
            header = read_header(path)
        except InputError as error:
            damaged[path] = error
            continue
        if header is not None and not is_accident(header):
            headers.append(header)
    return headers, damaged


def _series_of(named: Sequence[Path], known: Container[Path]) -> tuple[list[Header], dict[Path, InputError]]:
    """The headers of the series that the named DICOM files belong to, each in its folder."""
    found, damaged = _read_headers(named)
    readable = {header.path for header in found}
    for path in named:
        if path not in readable and path not in damaged:
            raise _no_scan(path)
    members: list[Header] = []
    for folder in sorted({path.parent for path in readable}):
        siblings, _ = _read_headers(path for path in sorted(folder.iterdir()) if path.is_file() and path not in known)
        members += [h for group in series_groups(siblings) if readable & {h.path for h in group} for h in group]
    return members, damaged


def _no_scan(path: Path) -> ConfigError:
    kind = kind_of(start_of(path))
    what = f"but {kind.name}; {kind.advice}" if kind else "expected one of them; name a scan or a folder"
    return ConfigError(f"{path} is neither NIfTI nor DICOM, {what}")


def _dicom_scans(
    headers: Sequence[Header], damaged: Mapping[Path, InputError], naming: _Naming, *, regrid: bool
) -> list[Scan]:
    """One scan per volume or refused part of each series, and one for each damaged file."""
    used: set[str] = set()
    scans = []
    for path, error in damaged.items():
        name = damaged_id(safe_path(path), safe_path(naming.root), keep_names=naming.keep_names)
        name = unique(safe_name(name), used)
        scans.append(Scan(name, (path,), "dicom", verdict=error.code, reason=str(error)))
    judged = judge_files(headers, regrid=regrid)
    counts = Counter(uid for series in judged for uid in {header.series_uid for header in series.headers})
    for series in judged:
        is_unique = counts[series.headers[0].series_uid] == 1
        named = [replace(header, path=safe_path(header.path)) for header in series.headers]
        root = safe_path(naming.root)
        name = safe_name(series_id(named, root, keep_names=naming.keep_names, is_unique=is_unique))
        for part in series.parts:
            scans.append(_scan(part, unique("-".join(filter(None, (name, part.name))), used)))  # noqa: PERF401
    return scans


def _scan(part: Judged, scan_id: str) -> Scan:
    code, reason = part.refusal or ("ok", "")
    n_frames = {header.path: header.n_frames for header in part.headers if header.frame >= 0}
    paths = tuple(dict.fromkeys(header.path for header in part.headers))
    before = dict(zip(paths, accumulate((n_frames.get(path, 1) for path in paths), initial=0), strict=False))
    frames = tuple(before[header.path] + max(header.frame, 0) for header in part.headers) if n_frames else ()
    first = part.headers[0]
    return Scan(
        scan_id,
        paths,
        "dicom",
        code,
        reason,
        first.modality,
        part.geometry,
        frames=frames,
        regrid=part.regrid.report if part.regrid else "",
        series=SeriesTags(first.study_uid, first.frame_of_reference, patient_of(part.headers)),
        free_text=FreeText(one_line(first.description), one_line(first.protocol)),
        facts=Counter(header.facts for header in part.headers).most_common(1)[0][0],
    )
