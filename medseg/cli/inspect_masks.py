"""`medseg inspect SCANS --masks DIR`: which mask each scan would be worked on in, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medseg.errors import InputError
from medseg.io.names import safe_text
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry


class MaskVerdict(NamedTuple):
    """Name of the mask relative to the folder of masks; empty with a reason code and a sentence."""

    name: str
    code: str = ""
    reason: str = ""


Masks = Mapping[str, MaskVerdict]
"""By the id of the scan; scans that cannot be used have none."""


def masks_for(scans: Sequence[Scan], folder: Path) -> Masks:
    """What `medseg segment --masks` would find for each scan that can be used."""
    return {scan.id: _mask_for(scan, scan.geometry, folder) for scan in scans if scan.is_ok and scan.geometry}


def mask_object(scan: Scan, masks: Masks) -> dict[str, str]:
    """For programs."""
    found = masks.get(scan.id, MaskVerdict(""))
    return {"mask": found.name, "mask_verdict": found.code or ("ok" if found.name else ""), "mask_reason": found.reason}


def mask_cell(scan: Scan, masks: Masks) -> str:
    """For people."""
    found = masks.get(scan.id, MaskVerdict("-"))
    return found.name or found.code


def mask_reason(scan: Scan, masks: Masks | None) -> str:
    """Why a scan has no mask; empty when it has one or none is asked for."""
    return masks[scan.id].reason if masks and scan.id in masks else ""


def _mask_for(scan: Scan, geometry: Geometry, folder: Path) -> MaskVerdict:
    from medseg.io.mask_files import given_mask

    try:
        path = given_mask(folder, scan, geometry).path
    except InputError as error:
        return MaskVerdict("", error.code, str(error))
    return MaskVerdict(safe_text(path.relative_to(folder).as_posix()))
