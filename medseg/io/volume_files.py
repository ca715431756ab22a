"""NRRD, MetaImage and MGH files in: read by SimpleITK and nibabel, refused where they do not say where voxels lie."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from medseg.errors import InputError
from medseg.io.compressed import Packed, check_whole
from medseg.io.file_kinds import GZIP, META_IMAGE, MISSING, NRRD, kind_of, start_of, unpacked_start
from medseg.io.label_like import Stored, is_label_map, refuse_label_map
from medseg.io.mgh import MGH_SUFFIXES, damaged, load_mgh
from medseg.io.nifti import check_size, checked_geometry, volume_shape
from medseg.io.nifti_header import READ_ERRORS, missing_content
from medseg.io.nifti_place import LARGEST_VOXEL_MM
from medseg.io.scan import Scan
from medseg.io.text_headers import read_text_header
from medseg.runtime.limits import is_out_of_memory
from medseg.spatial.geometry import Geometry

_LOG = logging.getLogger(__name__)
SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", *MGH_SUFFIXES)
_DTYPES = {sitk.sitkUInt8: np.uint8, sitk.sitkInt8: np.int8, sitk.sitkUInt16: np.uint16, sitk.sitkInt16: np.int16,
           sitk.sitkUInt32: np.uint32, sitk.sitkInt32: np.int32, sitk.sitkFloat32: np.float32}  # fmt: skip
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def judge_volume_file(path: Path, scan_id: str, *, place: str = "", is_scan: bool = False) -> Scan:
    """Judge one file by its header, and by its voxels whether it is a label map; never raises for a bad file.

    Args:
        place: the path below the folder searched, whose names hint at label maps; the file's name when empty.
        is_scan: somebody says that it is no label map.
    """
    paths: tuple[Path, ...] = (path,)
    try:
        file = open_volume(path)
        paths = file.paths
        if not is_scan and is_label_map(file.stored(), place or path.name):
            raise refuse_label_map(path.name)
    except InputError as error:
        return Scan(scan_id, paths, "volume", verdict=error.code, reason=str(error))
    return Scan(scan_id, paths, "volume", geometry=file.geometry, note=file.note)


class VolumeFile(NamedTuple):
    """One volume whose voxels are not read yet.

    Attributes:
        paths: the file, and the one with the voxels where it is another.
        dtype: of the stored voxels.
        n_axes: of the file, those of length one included.
        packed: the compressed stream of the voxels, of which libraries read damaged ones too.
    """

    paths: tuple[Path, ...]
    geometry: Geometry
    dtype: np.dtype[Any]
    n_axes: int = 3
    note: str = ""
    packed: Packed | None = None

    @property
    def is_mgh(self) -> bool:
        """Whether nibabel reads it, not SimpleITK."""
        return self.paths[0].suffix.lower() in MGH_SUFFIXES

    def voxels(self) -> npt.NDArray[Any]:
        """(I, J, K) as stored.

        Raises:
            InputError: ``corrupt_file``.
        """
        try:
            if self.packed:
                check_whole(self.packed, math.prod(self.geometry.shape) * self.dtype.itemsize)
            if self.is_mgh:
                return np.asarray(load_mgh(self.paths[0]).dataobj).reshape(self.geometry.shape)
            with _reachable(self.paths) as path:
                return sitk.GetArrayFromImage(sitk.ReadImage(path)).T.reshape(self.geometry.shape)
        except (RuntimeError, *READ_ERRORS) as error:
            if is_out_of_memory(error):
                raise
            _LOG.debug("%s", error)
            raise damaged(self.paths[0]) from None

    def stored(self) -> Stored:
        """What tells label maps."""

        def parts() -> Iterator[npt.NDArray[Any]]:
            if is_plain and not self.is_mgh:
                yield self._middle_slice()
            yield self.voxels().ravel(order="K")

        n_bytes, n_voxels = sum(path.stat().st_size for path in self.paths), math.prod(self.geometry.shape)
        is_plain = n_bytes > 0.9 * n_voxels * self.dtype.itemsize
        return Stored(n_voxels, self.dtype, n_bytes, not is_plain, parts)

    def _middle_slice(self) -> npt.NDArray[Any]:
        """One slice of an uncompressed file: enough to tell that it is no label map."""
        reader = sitk.ImageFileReader()
        shape = self.geometry.shape
        rest = [0] * (self.n_axes - 3)
        reader.SetExtractIndex([0, 0, shape[2] // 2, *rest])
        reader.SetExtractSize([shape[0], shape[1], 1, *(1 for _ in rest)])
        try:
            with _reachable(self.paths) as path:
                reader.SetFileName(path)
                return sitk.GetArrayFromImage(reader.Execute()).ravel()
        except RuntimeError as error:
            _LOG.debug("%s", error)
            raise damaged(self.paths[0]) from None


def open_volume(path: Path) -> VolumeFile:
    """Read and check the header of a file.

    Raises:
        InputError: it is damaged, not one volume, or does not say where it lies.
    """
    kind, suffix = kind_of(unpacked_start(path)), path.suffix.lower()
    own = {".nrrd": NRRD, ".nhdr": NRRD, ".mha": META_IMAGE, ".mhd": META_IMAGE}.get(suffix)
    if kind is not None and kind != own:
        raise InputError(f"{path.name}: found {kind.name}, expected what its name says; {kind.advice}", code=kind.code)
    if path.is_symlink() and not path.exists():
        raise missing_content(path)
    return _open_mgh(path) if suffix in MGH_SUFFIXES else _open_itk(path)


def _open_mgh(path: Path) -> VolumeFile:
    image = load_mgh(path)
    shape = volume_shape(image.shape, path.name)
    check_size(math.prod(shape), path.name)
    packed = Packed(path) if start_of(path).startswith(GZIP) else None
    geometry = checked_geometry(shape, image.affine, path.name)
    return VolumeFile((path,), geometry, image.get_data_dtype(), packed=packed)


def _open_itk(path: Path) -> VolumeFile:
    header = read_text_header(path)
    data = header.data_path()
    paths = (path,) if data is None else (path, data)
    if data is not None and not data.is_file():
        raise InputError(f"{path.name}: the file with its voxels is not there, expected it beside the header; copy it "
                         "too", code=MISSING)  # fmt: skip
    packed = header.packed()
    reader = sitk.ImageFileReader()
    try:
        with _reachable(paths) as reachable:
            reader.SetFileName(reachable)
            reader.ReadImageInformation()
    except RuntimeError as error:
        _LOG.debug("%s", error)
        header.check_place()
        raise damaged(path) from None
    if reader.GetNumberOfComponents() > 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{path.name}: found several values a voxel, expected one grey value each; convert it",
                         code="colour")  # fmt: skip
    shape = volume_shape(tuple(reader.GetSize()), path.name)
    check_size(math.prod(shape), path.name)
    header.check_place()
    mm = header.mm
    affine = affine_of_itk(reader, len(reader.GetSize()))
    note = "" if mm == 1 else "the unit of the header is not mm; brought to mm"
    dtype = np.dtype(_DTYPES.get(reader.GetPixelID(), np.float64))
    _check_unit(mm, affine, path.name)
    geometry = checked_geometry(shape, np.diag([mm, mm, mm, 1.0]) @ affine, path.name)
    return VolumeFile(paths, geometry, dtype, len(reader.GetSize()), note, packed)


def _check_unit(mm: float, affine: npt.NDArray[np.float64], name: str) -> None:
    """Refuse metres that cannot be, as of NIfTI files."""
    voxel = mm * float(np.linalg.norm(affine[:3, :3], axis=0).max())
    if mm > 1 and voxel >= LARGEST_VOXEL_MM:
        raise InputError(f"{name}: the unit of the header makes a voxel {voxel:.4g} mm large, expected less than "
                         f"{LARGEST_VOXEL_MM:g} mm; correct the unit", code="wrong_unit")  # fmt: skip


def affine_of_itk(header: sitk.ImageFileReader | sitk.Image, n_axes: int) -> npt.NDArray[np.float64]:
    """RAS+ affine of ITK's LPS+ header; of more axes, the first three."""
    axes = np.reshape(header.GetDirection(), (n_axes, n_axes))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(header.GetSpacing())[:3]
    affine[:3, 3] = header.GetOrigin()[:3]
    return np.asarray(_LPS_TO_RAS @ affine)


@contextmanager
def _reachable(paths: Sequence[Path]) -> Iterator[str]:
    """The first path as SimpleITK can open it: names that are no UTF-8 are reached through links."""
    try:
        str(paths[0]).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            links = [Path(folder, f"scan{paths[0].suffix}"), *(Path(folder, path.name) for path in paths[1:])]
            for link, path in zip(links, paths, strict=True):
                link.symlink_to(path.absolute())
            yield str(links[0])
    else:
        yield str(paths[0])
