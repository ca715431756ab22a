"""Find every scan below a folder, in a file or in a list of paths, and judge each by its headers."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, NoReturn

from medseg.errors import ConfigError, InputError
from medseg.io.dicom.dicomdir import files_of_dicomdir, is_dicomdir
from medseg.io.dicom.grouping import series_groups
from medseg.io.dicom.header import Header
from medseg.io.dicom.naming import absolute, damaged_id, relative, series_id
from medseg.io.dicom.read_headers import read_header
from medseg.io.dicom.series import Judged, judge_files
from medseg.io.nifti import judge_nifti
from medseg.io.scan import Scan, SeriesTags

log = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
LIST_SUFFIX = ".txt"
FIRST_CHANNEL = "_0000"
"""How nnU-Net names the first channel of a scan."""
LABEL_ENDING = "_seg"
"""How medseg names the label map that it writes next to a scan."""


def find_scans(source: Path | str, *, keep_names: bool = False, regrid: bool = False) -> list[Scan]:
    """Find and judge every scan of `source` without reading voxels.

    Args:
        source: a folder, searched recursively without following linked folders or entering hidden ones; a NIfTI
            file; a DICOM file, which stands for its series in its folder; a DICOMDIR, which stands for the files it
            lists; or a ``.txt`` list of such paths, one a line, relative to the folder of the list.
        keep_names: name DICOM scans after their folders too, which in hospitals are named after patients.
        regrid: accept tilted and unevenly spaced scans; `read_scan` resamples them onto a regular grid.

    Returns:
        One scan per NIfTI file and per volume of a DICOM series, refused ones included, sorted by id. Label maps named
        ``<scan>_seg`` beside their scan are left out.

    Raises:
        ConfigError: `source`, or a path in the list, is missing, unreadable or no scan.
    """
    source = Path(source)
    is_list = source.suffix.lower() == LIST_SUFFIX and source.is_file()
    entries = _read_list(source) if is_list else [source]
    root = _root(source, entries)
    walked = dict.fromkeys(path for entry in entries for path in _below(entry))
    named = [entry for entry in entries if not (entry.is_dir() or is_dicomdir(entry)) and entry not in walked]
    nifti = [path for path in (*walked, *named) if _is_nifti(path)]
    headers, damaged = _read_headers(path for path in walked if not _is_nifti(path))
    more_headers, more_damaged = _series_of([path for path in named if not _is_nifti(path)], walked)
    naming = _Naming(root, keep_names)
    scans = _dicom_scans(headers + more_headers, {**damaged, **more_damaged}, naming, regrid=regrid)
    return sorted(_nifti_scans(nifti, scans, root) + scans, key=lambda scan: scan.id)


class _Naming(NamedTuple):
    """How DICOM scans are named: relative to a folder, with or without the names of folders."""

    root: Path
    keep_names: bool


def _read_list(source: Path) -> list[Path]:
    """The paths in a list, each once."""
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{source} cannot be read ({error}), expected a text file of paths; check the file"
        ) from error
    paths = [source.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise ConfigError(f"{source} is empty, expected one path a line; write the paths of the scans into it")
    return list(dict.fromkeys(paths))


def _root(source: Path, entries: Sequence[Path]) -> Path:
    """The folder to which ids are relative."""
    for entry in entries:
        if not entry.exists():
            raise ConfigError(f"{entry} does not exist, expected a folder, NIfTI or DICOM file; check the path")
    if entries == [source]:
        return source if source.is_dir() else source.parent
    folders = [entry if entry.is_dir() else entry.parent for entry in entries]
    if all(absolute(folder).is_relative_to(absolute(source.parent)) for folder in folders):
        return source.parent
    return Path(os.path.commonpath([absolute(folder) for folder in folders]))


def _below(entry: Path) -> Iterable[Path]:
    """The files that a folder or a DICOMDIR stands for."""
    if is_dicomdir(entry):
        return files_of_dicomdir(entry)
    return _walk(entry) if entry.is_dir() else ()


def _walk(folder: Path) -> Iterable[Path]:
    """Every regular file below a folder, hidden files and folders left out."""
    for parent, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _refuse_folder(error: OSError) -> NoReturn:
    raise ConfigError(
        f"{error.filename} cannot be listed ({error.strerror}), expected a readable folder; check its permissions"
    ) from error


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _nifti_scans(paths: Sequence[Path], others: Sequence[Scan], root: Path) -> list[Scan]:
    """Judge the NIfTI files that are not label maps of another scan."""
    stems = _without_channel({path: relative(path, root, _suffix_of(path)) for path in paths})
    scans, used = [], {scan.id for scan in others}
    known = {*stems.values(), *used}
    for path, stem in sorted(stems.items()):
        name = stem.removesuffix(LABEL_ENDING)
        # DICOM ids do not say in which folder the series lies.
        if name != stem and (name in known or name.rpartition("/")[2] in used):
            log.info("%s holds the labels of another scan and is left out", stem)
        else:
            scans.append(judge_nifti(path, _unique(stem, used)))
    return scans


def _without_channel(stems: dict[Path, str]) -> dict[Path, str]:
    """nnU-Net calls the only channel of a scan ``case_0000``: the scan is ``case``, unless something else is."""
    taken = set(stems.values())

    def short(stem: str) -> str:
        case = stem.removesuffix(FIRST_CHANNEL)
        others = {case, f"{case}_0001", f"{case}{LABEL_ENDING}"} & taken
        return stem if others or not case.rpartition("/")[2] else case

    return {path: short(stem) if stem.endswith(FIRST_CHANNEL) else stem for path, stem in stems.items()}


def _suffix_of(path: Path) -> str:
    return next(suffix for suffix in NIFTI_SUFFIXES if path.name.lower().endswith(suffix))


def _unique(name: str, used: set[str]) -> str:
    """`name`, or the first of ``name-b``, ``name-c``, ... that is not used yet; it is then."""
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name}-{chr(ord('a') + number - 1) if number <= 26 else number}"
    used.add(candidate)
    return candidate


def _read_headers(paths: Iterable[Path]) -> tuple[list[Header], dict[Path, InputError]]:
    """The headers of the DICOM files among `paths`, and what is wrong with the damaged ones."""
    headers, damaged = [], {}
    for path in paths:
        try:
            header = read_header(path)
        except InputError as error:
            damaged[path] = error
            continue
        if header is not None:
            headers.append(header)
    return headers, damaged


def _series_of(named: Sequence[Path], known: Container[Path]) -> tuple[list[Header], dict[Path, InputError]]:
    """The headers of the series that the named DICOM files belong to, each in its folder."""
    found, damaged = _read_headers(named)
    readable = {header.path for header in found}
    for path in named:
        if path not in readable and path not in damaged:
            raise ConfigError(f"{path} is neither NIfTI nor DICOM, expected one of them; name a scan or a folder")
    members: list[Header] = []
    for folder in sorted({path.parent for path in readable}):
        siblings, _ = _read_headers(path for path in sorted(folder.iterdir()) if path.is_file() and path not in known)
        members += [h for group in series_groups(siblings) if readable & {h.path for h in group} for h in group]
    return members, damaged


def _dicom_scans(
    headers: Sequence[Header], damaged: Mapping[Path, InputError], naming: _Naming, *, regrid: bool
) -> list[Scan]:
    """One scan per volume or refused part of each series, and one for each damaged file."""
    used: set[str] = set()
    scans = []
    for path, error in damaged.items():
        name = _unique(damaged_id(path, naming.root, keep_names=naming.keep_names), used)
        scans.append(Scan(name, (path,), "dicom", verdict=error.code, reason=str(error)))
    judged = judge_files(headers, regrid=regrid)
    counts = Counter(uid for series in judged for uid in {header.series_uid for header in series.headers})
    for series in judged:
        is_unique = counts[series.headers[0].series_uid] == 1
        name = series_id(series.headers, naming.root, keep_names=naming.keep_names, is_unique=is_unique)
        for part in series.parts:
            scans.append(_scan(part, _unique("-".join(filter(None, (name, part.name))), used)))  # noqa: PERF401
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
        series=SeriesTags(first.study_uid, first.frame_of_reference, first.description),
    )
