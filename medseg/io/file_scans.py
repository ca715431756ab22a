"""Scans that lie in one file each: NIfTI, NRRD, MetaImage, MGH; and files that are named for what they are."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.io.archives import NAMED_SUFFIXES, named
from medseg.io.dicom.naming import absolute, relative
from medseg.io.file_kinds import MISSING
from medseg.io.label_like import LABEL_MAP, refuse_label_map
from medseg.io.names import safe_name
from medseg.io.nifti import judge_nifti
from medseg.io.scan import Scan
from medseg.io.selection import Selection

log = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
OTHER_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")
SEGMENTATION = ".seg"
"""How 3D Slicer and medseg end the stem of an NRRD file of labels."""
FIRST_CHANNEL = "_0000"
"""How nnU-Net names the first channel of a scan."""
LABEL_ENDING = "_seg"
"""How medseg names the label map that it writes next to a scan."""


def is_file_scan(path: Path) -> bool:
    """Whether a file is, by its name, a scan of its own or a file that is named for what it is."""
    return path.name.lower().endswith((*NIFTI_SUFFIXES, *OTHER_SUFFIXES, *NAMED_SUFFIXES))


def file_scans(paths: Sequence[Path], others: Sequence[Scan], root: Path, selection: Selection) -> list[Scan]:
    """Judge the files that are not label maps of another scan; NIfTI files get their names first."""
    stems = _without_channel({path: relative(path, root, suffix_of(path)) for path in paths})
    scans, used = [], {scan.id for scan in others}
    known = {*stems.values(), *used}
    for path, stem in sorted(stems.items(), key=lambda item: (not _is_nifti(item[0]), item[0])):
        place = relative(path, root)
        is_wanted = selection.wants((stem, place))
        name = _scan_of_labels(stem)
        # DICOM ids do not say in which folder the series lies.
        if name != stem and not is_wanted and (name in known or name.rpartition("/")[2] in used):
            log.info("%s holds the labels of another scan and is left out", stem)
            continue
        scan = _judged(path, safe_name(stem), place, is_scan=is_wanted)
        if scan is not None and selection.takes((stem, place)):
            unique_id = unique(scan.id, used)
            scans.append(_renamed(scan, unique_id, stem))
    return scans


def _judged(path: Path, scan_id: str, place: str, *, is_scan: bool) -> Scan | None:
    """The verdict on one file; None for one that holds no image."""
    if _is_nifti(path):
        return judge_nifti(path, scan_id, place=place, is_scan=is_scan)
    if path.name.lower().endswith(NAMED_SUFFIXES):
        error = named(path)
        return None if error is None else Scan(scan_id, (path,), "volume", verdict=error.code, reason=str(error))
    if not is_scan and path.stem.lower().endswith(SEGMENTATION):
        return Scan(scan_id, (path,), "volume", verdict=LABEL_MAP, reason=str(refuse_label_map(path.name)))
    from medseg.io.volume_files import judge_volume_file  # SimpleITK takes a while to import

    return judge_volume_file(path, scan_id, place=place, is_scan=is_scan)


def listed_but_missing(tables: Sequence[Path], known: Collection[Path], root: Path) -> list[Scan]:
    """The images that ``*_scans.tsv`` of a BIDS dataset list and that are not there."""
    scans = []
    for path in dict.fromkeys(path for table in tables for path in _listed(table)):
        if path in known or path.exists() or path.is_symlink() or not absolute(path).is_relative_to(absolute(root)):
            continue
        reason = f"{path.name}: listed in a _scans.tsv file but not there, expected the image; fetch it or take it out"
        stem = relative(path, root, suffix_of(path))
        scans.append(Scan(safe_name(stem), (path,), "nifti", verdict=MISSING, reason=reason))
    return scans


def suffix_of(path: Path) -> str:
    """The ending that is no part of the scan's name."""
    every = (*NIFTI_SUFFIXES, *OTHER_SUFFIXES, *NAMED_SUFFIXES)
    return next((suffix for suffix in every if path.name.lower().endswith(suffix)), "")


def unique(name: str, used: set[str]) -> str:
    """`name`, or the first of ``name-b``, ``name-c``, ... that is not used yet; it is then."""
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name}-{chr(ord('a') + number - 1) if number <= 26 else number}"
    used.add(candidate)
    return candidate


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _renamed(scan: Scan, scan_id: str, stem: str) -> Scan:
    return replace(scan, id=scan_id, stem="" if stem == scan_id else stem)


def _scan_of_labels(stem: str) -> str:
    return stem.removesuffix(SEGMENTATION).removesuffix(LABEL_ENDING)


def _without_channel(stems: Mapping[Path, str]) -> dict[Path, str]:
    """nnU-Net calls the only channel of a scan ``case_0000``: the scan is ``case``, unless something else is."""
    taken = set(stems.values())

    def short(stem: str) -> str:
        case = stem.removesuffix(FIRST_CHANNEL)
        others = {case, f"{case}_0001", f"{case}{LABEL_ENDING}"} & taken
        return stem if others or not case.rpartition("/")[2] else case

    return {path: short(stem) if stem.endswith(FIRST_CHANNEL) else stem for path, stem in stems.items()}


def _listed(table: Path) -> Iterator[Path]:
    """The NIfTI files of a table's first column, ``filename``."""
    try:
        lines = table.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    if not lines or lines[0].split("\t")[0] != "filename":
        return
    for line in lines[1:]:
        name = line.split("\t")[0].strip()
        if name.lower().endswith(NIFTI_SUFFIXES) and "\0" not in name:
            yield table.parent / name
