"""MGH files, FreeSurfer's format, as nibabel reads them."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel as nib

from medseg.errors import InputError
from medseg.io.file_kinds import GZIP, no_permission, start_of, unpacked_start
from medseg.io.nifti_header import READ_ERRORS

_LOG = logging.getLogger(__name__)
_FLAG = slice(28, 30)
MGH_SUFFIXES = (".mgz", ".mgh")


def load_mgh(path: Path) -> nib.MGHImage:
    """Open an MGH file, whatever its name says of compression.

    Raises:
        InputError: ``corrupt_file``, ``no_permission``, ``no_geometry``.
    """
    try:
        if (start_of(path)[:2] == GZIP) == (path.suffix.lower() == ".mgz"):
            image = nib.MGHImage.from_filename(path)
        else:
            content = path.read_bytes()
            image = nib.MGHImage.from_bytes(gzip.decompress(content) if content[:2] == GZIP else content)
    except PermissionError:
        raise no_permission(path) from None
    except READ_ERRORS as error:
        _LOG.debug("%s", error)
        raise damaged(path) from None
    # nibabel sets the flag of a header without it, and makes a place up.
    if int.from_bytes(unpacked_start(path)[_FLAG], "big") != 1:
        raise InputError(f"{path.name}: the header does not say where the voxels lie, expected its RAS flag set; "
                         "convert it with mri_convert", code="no_geometry")  # fmt: skip
    return image


def damaged(path: Path) -> InputError:
    """The refusal of a file that is not what its name says."""
    return InputError(f"{path.name}: not a readable image, though its name says so; export or copy it again",
                      code="corrupt_file")  # fmt: skip
