"""Voxels of one judged DICOM series, as a MONAI reader that refuses instead of guessing."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from monai.config.type_definitions import PathLike
from monai.data.image_reader import ImageReader
from pydicom import config as pydicom_config
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_modality_lut

from medseg.errors import InputError
from medseg.geometry import Geometry
from medseg.io.dicom_header import Header, read_header
from medseg.io.dicom_judge import judge_files
from medseg.io.nifti import geometry_meta

log = logging.getLogger(__name__)


class DicomReader(ImageReader):
    """MONAI reader of the files of one DICOM series, in any order.

    Everything is judged and decoded in `get_data`: `LoadImage` takes an error in `read` as a hint to try its
    other readers, which would return the refused series silently and wrong.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether no name claims to be NIfTI; DICOM files need no suffix."""
        return not any(path.name.lower().endswith((".nii", ".nii.gz")) for path in _paths(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **_: object) -> tuple[Path, ...]:
        """Note which files hold the slices."""
        return _paths(data)

    def get_data(self, img: Sequence[Path]) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Judge and decode the files.

        Returns:
            (I, J, K) rescaled voxels, slices ascending along the slice normal, and the metadata for `LoadImage`:
            the affine to RAS+ mm, nothing of the patient.

        Raises:
            InputError: the files are not one regular volume or cannot be decoded; `code` says why.
        """
        headers, geometry = _judge(img)
        columns, rows, n_slices = geometry.shape
        # Slice by slice in the order of the files; the caller sees (I, J, K) of the same memory.
        voxels = np.empty((n_slices, rows, columns), dtype=np.float32)
        for k, header in enumerate(headers):
            voxels[k] = _decode(header)
        return voxels.transpose(2, 1, 0), {**geometry_meta(geometry), "modality": headers[0].modality}


def _paths(names: Sequence[PathLike] | PathLike) -> tuple[Path, ...]:
    return (Path(names),) if isinstance(names, (str, os.PathLike)) else tuple(Path(name) for name in names)


def _judge(paths: Sequence[Path]) -> tuple[tuple[Header, ...], Geometry]:
    """The slices in their order and the grid of the one volume that these files are.

    Raises:
        InputError: they are none, or more than one.
    """
    headers = []
    for path in paths:
        header = read_header(path)
        if header is None:
            raise InputError(f"{path.name} is not DICOM, expected a slice; name only slices", code="corrupt_file")
        headers.append(header)
    parts = judge_files(headers)
    for part in parts:
        if part.refusal:
            raise InputError(part.refusal.reason, code=part.refusal.code)
    volumes = [(part.headers, part.geometry) for part in parts if part.geometry]
    if len(volumes) != 1:
        message = f"{len(paths)} files hold {len(volumes)} volumes, expected one; read one series at a time"
        raise InputError(message, code="several_volumes" if volumes else "not_a_volume")
    return volumes[0]


def _decode(header: Header) -> npt.NDArray[np.float32]:
    """(rows, columns) pixels of one slice with its own slope and intercept applied."""
    try:
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            found = pydicom.dcmread(header.path, force=True)
            _name_encoding(found)
            pixels = apply_modality_lut(found.pixel_array, found).reshape(header.rows, header.columns)
    # The decoders raise whatever their libraries raise.
    except Exception as error:
        log.debug("%s cannot be decoded: %r", header.path, error)
        message = (
            f"the pixels of {header.path.name} end early or are damaged, expected {header.columns} x {header.rows} "
            "decodable ones; copy or export it again"
        )
        raise InputError(message, code="truncated") from error
    return np.asarray(pixels, dtype=np.float32)


def _name_encoding(found: FileDataset) -> None:
    """Name the transfer syntax, which pydicom guessed, in a file that does not."""
    if "TransferSyntaxUID" in found.file_meta:
        return
    is_implicit, is_little = found.original_encoding
    explicit = uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian
    found.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
