"""Brain masks are made once: a file beside the results that is found again, or corrected by hand and then believed.

The file says of itself how it was made: a note in the header (an extension of NIfTI-1, "comment") holds the tool, the
digest of the scan that the mask was made of, and the digest of the mask. Who changes the mask makes the note untrue, so
that a mask corrected by hand is told from one that is only out of date, and is never written over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from monai.data.meta_tensor import MetaTensor
from nibabel.nifti1 import Nifti1Extension

from medseg.io.atomic import whole_file
from medseg.io.label_volumes import as_labels, check_label_map, deterministic_stream, nifti_header
from medseg.io.nifti_header import READ_ERRORS
from medseg.io.read import read_mask
from medseg.spatial.geometry import Geometry

BY_HAND = "by hand"
_COMMENT = 6
_NOTE = "medseg brain mask"


class KeptMask(NamedTuple):
    """A brain mask and who made it: a tool with its version, or `BY_HAND`."""

    inside: MetaTensor
    by: str


def kept_mask(source: MetaTensor, path: Path, told: str, make: Callable[[], MetaTensor]) -> KeptMask:
    """The brain mask at `path`, made unless it is there.

    Args:
        source: (1, I, J, K) image that the mask is made of.
        told: name and version of the tool; a mask that another one made, or of another scan, is made again.
        make: makes the mask.

    Raises:
        InputError: what `make` raises; a mask changed by hand does not fit (``mask_mismatch``, ``not_a_mask``,
            ``empty_mask``).
    """
    made = {"tool": told, "scan": _digest(source)}
    if path.is_file():
        note = _note(path)
        if note is None:
            return KeptMask(read_mask(path, Geometry.of(source)), BY_HAND)
        if made.items() <= note.items():
            return KeptMask(read_mask(path, Geometry.of(source)), told)
    mask = make()
    _write(mask, path, made)
    return KeptMask(mask, told)


def mask_digest(path: Path) -> str:
    """Of the bytes of a mask file; empty when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _digest(image: MetaTensor) -> str:
    """Of intensities and grid."""
    digest = hashlib.sha256(np.ascontiguousarray(image.as_tensor().cpu().numpy(), dtype=np.float32).tobytes())
    digest.update(np.round(Geometry.of(image).affine, 6).tobytes())
    return digest.hexdigest()[:16]


def _write(mask: MetaTensor, path: Path, made: dict[str, str]) -> None:
    """Write a mask with a note of how it was made, whole or not at all."""
    geometry = Geometry.of(mask)
    voxels = as_labels(mask.as_tensor()[0])
    check_label_map(voxels, geometry, None)
    header = nifti_header(voxels, geometry)
    note = {"what": _NOTE, **made, "mask": _digest_of_voxels(voxels)}
    header.extensions.append(Nifti1Extension(_COMMENT, json.dumps(note).encode()))
    with whole_file(path) as temporary, deterministic_stream(temporary) as stream:
        nib.Nifti1Image(voxels, geometry.affine, header).to_stream(stream)


def _note(path: Path) -> dict[str, Any] | None:
    """What the file says of itself; None when it says nothing, or its mask is no longer the one that was written."""
    try:
        image = nib.Nifti1Image.from_filename(path)
        texts = [bytes(extension.content) for extension in image.header.extensions if extension.get_code() == _COMMENT]
        notes = [json.loads(text.rstrip(b"\0")) for text in texts]
        note = next((x for x in notes if isinstance(x, dict) and x.get("what") == _NOTE), None)
        is_as_written = note is not None and note.get("mask") == _digest_of_voxels(np.asarray(image.dataobj))
    except (*READ_ERRORS, TypeError):
        return None
    return note if is_as_written else None


def _digest_of_voxels(voxels: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(voxels > 0).tobytes()).hexdigest()[:16]
