"""Pixels of DICOM files: decoded by pydicom and its plugins, or by SimpleITK where these cannot, and rescaled."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom import config as pydicom_config
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels

from medseg.errors import InputError, OutputError
from medseg.io.dicom.header import Header
from medseg.io.dicom.rejections import BASELINE_BITS, FALLBACK_SYNTAXES, has_pydicom_decoder
from medseg.runtime.disk import writing_to
from medseg.runtime.limits import is_out_of_memory

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.float64]
PIXEL_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)
"""All that a decoder needs to know, and nothing of the patient."""


def decode(headers: Sequence[Header]) -> Iterator[Pixels]:
    """The (rows, columns) rescaled pixels of each slice, in order; a file with several of them is read once a run.

    Raises:
        InputError: ``truncated`` when pixels do not decode.
    """
    for path, group in groupby(headers, key=lambda header: header.path):
        members = list(group)
        yield from _checked(_decode_file(path, members), members)


def stored_bytes(path: Path) -> bytes:
    """The pixels of a file as they are stored, as far as they are there."""
    with warnings.catch_warnings(), pydicom_config.disable_value_validation():
        warnings.simplefilter("ignore")
        return bytes(pydicom.dcmread(path, force=True).get("PixelData") or b"")


def _checked(images: Iterator[Pixels], headers: Sequence[Header]) -> Iterator[Pixels]:
    """The images of a file; whatever its decoder raises is the file's fault."""
    for header in headers:
        try:
            with warnings.catch_warnings(), pydicom_config.disable_value_validation():
                warnings.simplefilter("ignore")
                pixels = next(images).reshape(header.rows, header.columns)
        except OutputError:
            raise
        # The decoders raise whatever their libraries raise.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.debug("pixels cannot be decoded: %r", error)
            message = (
                f"the pixels of {header.name} end early or are damaged, expected {header.columns} x {header.rows} "
                "decodable ones; copy or export it again"
            )
            raise InputError(message, code="truncated") from error
        yield pixels


def _decode_file(path: Path, headers: Sequence[Header]) -> Iterator[Pixels]:
    """The images of one file that `headers` name, in their order."""
    found = pydicom.dcmread(path, force=True)
    _name_encoding(found)
    syntax = found.file_meta.TransferSyntaxUID
    is_12_bit = syntax == uid.JPEGExtended12Bit and headers[0].bits_stored > BASELINE_BITS
    if syntax in FALLBACK_SYNTAXES and (is_12_bit or not has_pydicom_decoder(syntax)):
        frames = _decode_with_simpleitk(found)
        stored: Iterator[npt.NDArray[Any]] = (frames[max(header.frame, 0)] for header in headers)
    elif headers[0].frame < 0:
        stored = iter([found.pixel_array])
    else:
        stored = iter_pixels(found, indices=[header.frame for header in headers])
    for header, pixels in zip(headers, stored, strict=True):
        yield _rescale(pixels, header, found)


def _rescale(pixels: npt.NDArray[Any], header: Header, found: Dataset) -> Pixels:
    """Stored pixels -> values, by the look-up table of the file or the slope and intercept of file or frame."""
    if header.rescale.is_table:
        return np.asarray(apply_modality_lut(pixels, found), dtype=np.float64)
    return header.rescale.apply(pixels)


def _decode_with_simpleitk(found: FileDataset) -> npt.NDArray[Any]:
    """(frames, rows, columns) stored pixels; SimpleITK reads files only, so it gets one without the patient."""
    bare = Dataset()
    for keyword in PIXEL_KEYWORDS:
        if keyword in found:
            bare[keyword] = found[keyword]
    bare.SOPClassUID = uid.SecondaryCaptureImageStorage
    bare.SOPInstanceUID = uid.generate_uid()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = found.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with writing_to(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pixels.dcm")  # noqa: PTH118 (SimpleITK wants text)
        bare.save_as(path, enforce_file_format=True)
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(path))
    return np.asarray(pixels).reshape(-1, found.Rows, found.Columns)


def _name_encoding(found: FileDataset) -> None:
    """Name the transfer syntax, which pydicom guessed, in a file that does not."""
    if "TransferSyntaxUID" in found.file_meta:
        return
    is_implicit, is_little = found.original_encoding
    explicit = uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian
    found.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
