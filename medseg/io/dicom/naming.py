"""Names of scans that come as DICOM: by default nothing in them that a patient is known by."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from medseg.io.dicom.header import Header


def series_id(headers: Sequence[Header], root: Path, *, keep_names: bool, is_unique: bool = True) -> str:
    """``<modality><number>-<hash of the series UID>``, the same wherever the series lies.

    Args:
        headers: the files of the series.
        root: the folder that is searched.
        is_unique: whether no other series below the root has its UID.
        keep_names: put the series' folder, relative to `root`, before it: ``study/mr3-5f2a9c``. In hospitals folders
            are named after patients.
    """
    first = min(headers, key=lambda header: header.path)
    modality = re.sub(r"[^a-z0-9]", "", first.modality.lower())[:8] or "dicom"
    number = re.sub(r"[^0-9]", "", first.series_number)[:12]
    digest = _digest(_identity(headers, root, is_unique=is_unique))
    if not keep_names:
        return f"{modality}{number}-{digest[:10]}"
    folder = relative(Path(os.path.commonpath([absolute(header.path.parent) for header in headers])), root)
    name = f"{modality}{number}-{digest[:6]}"
    return name if folder == "." else f"{folder}/{name}"


def damaged_id(path: Path, root: Path, *, keep_names: bool) -> str:
    """The name of a file whose header cannot be read, so that nothing but its place tells it from others."""
    place = relative(path, root)
    return place if keep_names else f"damaged-{_digest(place)[:10]}"


def _identity(headers: Sequence[Header], root: Path, *, is_unique: bool) -> str:
    """What tells the series from all others: its UID, else study, patient and UIDs of its images, else its place."""
    first = headers[0]
    if first.series_uid and is_unique:
        return first.series_uid
    images = sorted(header.sop_uid for header in headers if header.sop_uid)
    owner = [first.study_uid, *first.patient] if first.series_uid else []
    return " ".join([*owner, *images]) if images else relative(first.path.parent, root)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def relative(path: Path, root: Path, suffix: str = "") -> str:
    """A path relative to the root, with ``/`` and without its suffix."""
    text = absolute(path).relative_to(absolute(root)).as_posix()
    return text[: len(text) - len(suffix)]


def absolute(path: Path) -> Path:
    """The path without ``..``; links keep their names."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps the dots, resolve follows links)
