"""Masks that people give: found below a folder by the names that brain extraction tools use, told by their voxels.

Names (T1.nii.gz is the scan): FSL bet ``T1_brain_mask`` or ``T1_bet_mask``, HD-BET 1 ``T1_bet_mask`` and HD-BET 2
``T1_bet`` (in version 1 and in FSL that is the extracted image, so voxels decide), SynthStrip ``T1_synthstrip_mask`` or
whatever its user wrote, medseg ``T1_brainmask``; of BIDS derivatives such as fMRIPrep's
``sub-01/anat/sub-01_desc-brain_mask``, which lies on the scan's own grid; never one with an entity ``space``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.errors import InputError
from medseg.io.file_scans import NIFTI_SUFFIXES, suffix_of
from medseg.io.names import safe_name
from medseg.io.read import NOT_A_MASK, read_mask
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry

NO_MASK = "no_mask"
"""The verdict on a scan that has none."""
ENDINGS = ("", "_mask", "_brain_mask", "_brainmask", "_bet", "_bet_mask", "_synthstrip_mask")
"""What follows the name of the scan."""
BIDS_ENDING = "_desc-brain_mask"
"""What follows the entities of a scan in a BIDS derivative."""
_BIDS = re.compile(r"(?P<subject>sub-[A-Za-z0-9]+)(?:_(?P<session>ses-[A-Za-z0-9]+))?(?:_[a-z]+-[A-Za-z0-9]+)*")


class GivenMask(NamedTuple):
    """The mask of a scan.

    Attributes:
        inside: (1, I, J, K) of 0 and 1 on the grid of the scan.
    """

    path: Path
    inside: MetaTensor


def mask_names(scan: Scan) -> list[str]:
    """Names without ending, relative to the folder of masks, under which the mask of a scan is looked for."""
    return list(dict.fromkeys([*_plain_names(scan), *_bids_names(scan)]))


def _plain_names(scan: Scan) -> Iterator[str]:
    yield from (f"{stem}{ending}" for stem in _stems(scan) for ending in ENDINGS)


def _stems(scan: Scan) -> list[str]:
    """The id, the name as the disk has it, and the whole file name where the id is shorter (``case_0000``)."""
    own = [scan.id, scan.stem]
    if scan.format != "dicom":
        folder = (scan.stem or scan.id).rpartition("/")[0]
        own.append("/".join(filter(None, (folder, _file_stem(scan)))))
    return list(dict.fromkeys(filter(None, own)))


def _file_stem(scan: Scan) -> str:
    return scan.path.name[: len(scan.path.name) - len(suffix_of(scan.path))]


def _bids_names(scan: Scan) -> Iterator[str]:
    """Beside the scan's own name, and where a derivative has it whatever the layout of the scans."""
    entities = _file_stem(scan).rpartition("_")[0] if scan.format != "dicom" else ""
    found = _BIDS.fullmatch(entities)
    if found is None:
        return
    kept = "_".join(part for part in entities.split("_") if not part.startswith("desc-"))
    own = scan.id.rpartition("/")[0]
    standard = "/".join(filter(None, (found["subject"], found["session"], "anat")))
    for folder in (own, standard):
        yield "/".join(filter(None, (folder, f"{kept}{BIDS_ENDING}")))


def mask_candidates(folder: Path, scan: Scan) -> list[Path]:
    """Files below `folder` that have one of the names; of those some may be images."""
    paths = [folder / f"{name}{suffix}" for name in mask_names(scan) for suffix in NIFTI_SUFFIXES]
    return [path for path in paths if path.is_file()]


def given_mask(folder: Path, scan: Scan, geometry: Geometry) -> GivenMask:
    """The one mask of a scan below `folder`.

    An image beside it, as brain extraction leaves it, is passed over; masks that agree are one.

    Raises:
        InputError: ``no_mask``; ``not_a_mask`` when all that is there are images, the scan itself among them;
            ``ambiguous_mask`` when two are not the same; ``mask_mismatch``, ``empty_mask``, or what is wrong with it.
    """
    masks, errors = dict[Path, MetaTensor](), dict[Path, InputError]()
    for path in mask_candidates(folder, scan):
        try:
            masks[path] = _read(path, scan, geometry)
        except InputError as error:
            errors[path] = error
    wrong = {path: error for path, error in errors.items() if error.code != NOT_A_MASK}
    if not masks and not errors:
        raise _no_mask(scan)
    if not masks:
        raise next(iter((wrong or errors).values()))
    first, *others = masks
    odd = [*wrong, *(path for path in others if not torch.equal(masks[path].as_tensor(), masks[first].as_tensor()))]
    if odd:
        names = ", ".join(path.name for path in (first, *odd))
        raise InputError(f"found {1 + len(odd)} masks that are not the same ({names}), expected one; remove the others",
                         code="ambiguous_mask")  # fmt: skip
    return GivenMask(first, masks[first])


def read_given_mask(folder: Path, scan: Scan, image: MetaTensor) -> GivenMask:
    """`given_mask` for the (C, I, J, K) `image` of the scan, to which it must not be equal.

    Raises:
        InputError: as `given_mask`.
    """
    found = given_mask(folder, scan, Geometry.of(image))
    first = image.as_tensor()[:1]
    if torch.equal(found.inside.as_tensor() * first.max(), first):
        raise _is_image(found.path)
    return found


def _read(path: Path, scan: Scan, geometry: Geometry) -> MetaTensor:
    if path.samefile(scan.path):
        raise _is_image(path)
    return read_mask(path, geometry)


def _is_image(path: Path) -> InputError:
    return InputError(f"mask {path.name}: found the scan itself, expected a mask; give the folder that masks are in",
                      code=NOT_A_MASK)  # fmt: skip


def _no_mask(scan: Scan) -> InputError:
    names = ", ".join(safe_name(name) for name in mask_names(scan))
    return InputError(f"found no mask below the folder of masks, expected one of {names} (.nii.gz or .nii); add it or "
                      "leave the scan out", code=NO_MASK)  # fmt: skip
