"""Voxels of one judged DICOM series, as a MONAI reader that refuses instead of guessing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from monai.config.type_definitions import PathLike
from monai.data.image_reader import ImageReader

from medseg.errors import InputError
from medseg.io.dicom.header import Header
from medseg.io.dicom.padding import darken_padding
from medseg.io.dicom.pixels import decode
from medseg.io.dicom.read_headers import read_header
from medseg.io.dicom.regrid import Regrid
from medseg.io.dicom.series import judge_files
from medseg.io.precision import LARGEST_WHOLE, check_scale, is_huge, value_range
from medseg.io.readers import geometry_meta
from medseg.spatial.geometry import Geometry


class _Volume(NamedTuple):
    headers: tuple[Header, ...]
    geometry: Geometry
    regrid: Regrid | None


class DicomReader(ImageReader):
    """MONAI reader of the files of one DICOM series, in any order.

    Args:
        frames: which frames of enhanced multi-frame files to read, counted through the files one after the other;
            all of them when empty.
        regrid: resample tilted and unevenly spaced slices onto a regular grid instead of refusing them.

    Everything is judged and decoded in `get_data`: `LoadImage` takes an error in `read` as a hint to try its
    other readers, which would return the refused series silently and wrong.
    """

    def __init__(self, *, frames: Sequence[int] = (), regrid: bool = False) -> None:
        self.frames = frames
        self.regrid = regrid

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
        volume = _judge(_slices(img, self.frames), regrid=self.regrid)
        headers = volume.headers
        # Slice by slice in the order of the files; the caller sees (I, J, K) of the same memory.
        voxels = np.empty((len(headers), headers[0].rows, headers[0].columns), dtype=np.float32)
        for k, pixels in enumerate(decode(headers)):
            voxels[k] = pixels
        darken_padding(voxels, headers)
        if _is_lost(voxels, is_hounsfield=headers[0].is_hounsfield):
            offset = median_low(float(np.percentile(pixels, 0.1)) for pixels in decode(headers))
            for k, pixels in enumerate(decode(headers)):
                voxels[k] = pixels - offset
        stored = voxels.transpose(2, 1, 0)
        image = volume.regrid.apply(stored) if volume.regrid else stored
        return image, {**geometry_meta(volume.geometry), "modality": headers[0].modality}


def _paths(names: Sequence[PathLike] | PathLike) -> tuple[Path, ...]:
    return (Path(names),) if isinstance(names, (str, os.PathLike)) else tuple(Path(name) for name in names)


def _is_lost(voxels: npt.NDArray[np.float32], *, is_hounsfield: bool) -> bool:
    """Whether values are so huge beside their range that single precision loses it.

    Raises:
        InputError: ``no_rescale`` for CT, whose values mean Hounsfield units; ``lost_contrast``.
    """
    low, high = value_range(voxels)
    check_scale(low, high, "the series")
    if not is_huge(low, high) and (high > low or abs(low) < LARGEST_WHOLE):
        return False
    if is_hounsfield:
        message = f"the Hounsfield units lie around {low:g}, expected -1024 for air and 0 for water"
        raise InputError(f"{message}; export the series again", code="no_rescale")
    return True


def _slices(paths: Sequence[Path], frames: Sequence[int]) -> list[Header]:
    """The headers of the files, or of the frames that are asked for.

    Raises:
        InputError: a file cannot be read, or has no such frame.
    """
    headers = []
    for number, path in enumerate(paths, start=1):
        header = read_header(path)
        if header is None:
            raise InputError(f"file {number} is not DICOM, expected a slice; name only slices", code="corrupt_file")
        headers.append(header)
    if not frames:
        return headers
    known = [frame for header in headers for frame in header.frames]
    if max(frames) >= len(known):
        message = f"found {len(known)} frames, expected more than {max(frames)}; the files have changed, inspect again"
        raise InputError(message, code="corrupt_file")
    return [known[number] for number in frames]


def _judge(headers: Sequence[Header], *, regrid: bool) -> _Volume:
    """The one volume that these slices are.

    Raises:
        InputError: they are none, or more than one.
    """
    parts = [part for series in judge_files(headers, regrid=regrid) for part in series.parts]
    for part in parts:
        if part.refusal:
            raise InputError(part.refusal.reason, code=part.refusal.code)
    volumes = [_Volume(part.headers, part.geometry, part.regrid) for part in parts if part.geometry]
    if len(volumes) != 1:
        message = f"{len(headers)} files hold {len(volumes)} volumes, expected one; read one series at a time"
        raise InputError(message, code="several_volumes" if volumes else "not_a_volume")
    return volumes[0]
