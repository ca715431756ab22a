"""The header of one NIfTI file, whatever its name says of compression, checked before any voxel is read."""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.freesurfer.mghformat import MGHError
from nibabel.volumeutils import apply_read_scaling

from medseg.errors import InputError
from medseg.io.compressed import Packed, unpacked
from medseg.io.file_kinds import GZIP, MISSING, NIFTI, START_BYTES, kind_of, no_permission
from medseg.io.label_like import MOST_BYTES, Stored

_LOG = logging.getLogger(__name__)
_HEADER_BYTES = 544
_PIECE = 2**20
READ_ERRORS = (
    OSError, EOFError, ValueError, OverflowError, KeyError, zlib.error, nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError, nib.spatialimages.HeaderTypeError, nib.spatialimages.ImageDataError,
    MGHError,
)  # fmt: skip


@dataclass(frozen=True)
class NiftiFile:
    """One NIfTI-1 or NIfTI-2 file whose voxels are not read yet.

    Attributes:
        shape: sizes of all axes; those that the header calls 0 or less beyond the third are 1.
        slope: what stored values are multiplied by.
        intercept: what is added then.
        pixdim: the three voxel sizes as stored, which nibabel would repair.
        notes: what is wrong in the header without harm.
    """

    path: Path
    header: nib.Nifti1Header
    is_gzip: bool
    shape: tuple[int, ...]
    slope: float
    intercept: float
    pixdim: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name for messages."""
        return self.path.name

    @property
    def offset(self) -> int:
        """Where the voxels begin in the uncompressed file."""
        return int(self.header["vox_offset"])

    def open(self) -> IO[bytes]:
        """The uncompressed file."""
        return cast(IO[bytes], gzip.open(self.path)) if self.is_gzip else self.path.open("rb")

    def voxels(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Voxels of `shape`, slope and intercept applied; of the stored type where these change nothing."""
        return self._read(self.slope, self.intercept)

    def unscaled(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Voxels of `shape` as stored."""
        return self._read(1.0, 0.0)

    def _read(self, slope: float, intercept: float) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        spec = (self.shape, self.header.get_data_dtype(), self.offset, slope, intercept)
        if self.is_gzip:
            return self._unpack(slope, intercept)
        if not self.name.lower().endswith(".gz"):
            return np.asarray(ArrayProxy(str(self.path), spec))
        with self.open() as file:
            return np.array(ArrayProxy(file, spec, mmap=False))

    def _unpack(self, slope: float, intercept: float) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        dtype = self.header.get_data_dtype()
        content = unpacked(Packed(self.path), self.offset + math.prod(self.shape) * dtype.itemsize)
        stored = np.ndarray(self.shape, dtype, content, self.offset, order="F")
        if (slope, intercept) == (1.0, 0.0):
            return stored
        return np.asarray(apply_read_scaling(stored, np.float64(slope), np.float64(intercept)))

    def stored(self) -> Stored:
        """What tells label maps; the voxels are read in pieces."""
        dtype, n_voxels = self.header.get_data_dtype(), math.prod(self.shape)
        is_scaled = (self.slope, self.intercept) != (1.0, 0.0)

        def parts() -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
            left = min(n_voxels * dtype.itemsize, MOST_BYTES)
            with self.open() as stream:
                stream.seek(self.offset)
                while left > 0:
                    content = stream.read(min(_PIECE, left))
                    if len(content) < dtype.itemsize:
                        return
                    left -= len(content)
                    values = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
                    yield values * self.slope + self.intercept if is_scaled else values

        return Stored(n_voxels, dtype, self.path.stat().st_size, self.is_gzip, parts)


def open_nifti(path: Path) -> NiftiFile:
    """Read and check the header of a file.

    Raises:
        InputError: ``corrupt_file``, ``no_permission``, ``wrong_offset``, or what the file is instead of NIfTI.
    """
    try:
        start, is_gzip = _start(path)
        header = _header_in(start)
        if header is None:
            raise _not_nifti(path, start)
        _check_offset(path, header, is_gzip)
        pixdim = tuple(float(x) for x in header["pixdim"][1:4])
        with nib.imageglobals.LoggingOutputSuppressor():  # its complaints about headers; ours come in one sentence
            header.check_fix(error_level=40)
        shape = tuple(int(n) for n in header.get_data_shape())
    except PermissionError:
        raise no_permission(path) from None
    except READ_ERRORS as error:
        _LOG.debug("%s", error)
        raise _not_nifti(path, b"") from None
    slope, intercept, notes = _scaling(header)
    if any(n <= 0 for n in shape[3:]):
        notes = (*notes, f"the header gives the sizes {'x'.join(map(str, shape))}: less than 1 beyond the third is "
                 "taken for 1")  # fmt: skip
    sizes = (*shape[:3], *(max(n, 1) for n in shape[3:]))
    return NiftiFile(path, header, is_gzip, sizes, slope, intercept, pixdim, notes)


def _start(path: Path) -> tuple[bytes, bool]:
    """The first bytes of the uncompressed file, and whether it is compressed."""
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == GZIP
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_gzip else raw
        return file.read(max(_HEADER_BYTES, START_BYTES)), is_gzip


def _header_in(start: bytes) -> nib.Nifti1Header | None:
    for klass, size, magic in ((nib.Nifti1Header, 348, start[344:347]), (nib.Nifti2Header, 540, start[4:7])):
        for order, sign in (("little", "<"), ("big", ">")):
            if start[:4] == size.to_bytes(4, order) and magic in (b"n+1", b"n+2") and len(start) >= size:  # type: ignore[arg-type]
                return klass(start[:size], endianness=sign, check=False)
    return None


def _not_nifti(path: Path, start: bytes) -> InputError:
    kind = kind_of(start)
    if kind is None or kind == NIFTI:
        if path.is_symlink() and not path.exists():
            return missing_content(path)
        return InputError(f"{path.name}: not a readable NIfTI file, though its name says so; export or copy it again",
                          code="corrupt_file")  # fmt: skip
    return InputError(f"{path.name}: found {kind.name}, expected NIfTI as its name says; {kind.advice}", code=kind.code)


def missing_content(path: Path) -> InputError:
    """The refusal of a link whose target is not there."""
    return InputError(f"{path.name}: a link whose target is not here, expected the image; fetch it (datalad get, "
                      "git annex get) or repair the link", code=MISSING)  # fmt: skip


def _check_offset(path: Path, header: nib.Nifti1Header, is_gzip: bool) -> None:
    """Refuse voxels that are said to begin inside the header or beyond the file."""
    offset, least = float(header["vox_offset"]), int(header.single_vox_offset)
    n_bytes = path.stat().st_size
    wrong = ""
    if not np.isfinite(offset) or offset != int(offset):
        wrong = "which is no place in a file"
    elif offset < least:
        wrong = f"inside the header of {least} bytes"
    elif not is_gzip and offset >= n_bytes:
        wrong = f"beyond the end of the file of {n_bytes} bytes"
    if wrong:
        raise InputError(f"{path.name}: the header says that the voxels begin at byte {offset:.15g}, {wrong}, expected "
                         f"{least} in most files; export the file again or repair vox_offset",
                         code="wrong_offset")  # fmt: skip


def _scaling(header: nib.Nifti1Header) -> tuple[float, float, tuple[str, ...]]:
    """Slope, intercept, and what is said of them where they are no numbers; a slope of 0 means none (the standard)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        # nibabel and others write NaN for "none" on purpose.
        is_odd = np.isinf(slope) or (np.isfinite(intercept) and intercept != 0)
        said = f"slope {slope:g} and intercept {intercept:g} of the header mean no scaling, so voxels are as stored"
        return 1.0, 0.0, (said,) if is_odd else ()
    if not np.isfinite(intercept):
        return slope, 0.0, (f"the intercept of the header is {intercept:g} and taken for 0",)
    return slope, intercept, ()
