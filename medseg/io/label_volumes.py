"""Label maps as NIfTI files, and the colour table that gives their numbers names in 3D Slicer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import IOBase
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from zlib_ng.gzip_ng import GzipNGFile

from medseg.errors import InputError
from medseg.io.atomic import whole_file, write_text_whole
from medseg.io.nifti_header import READ_ERRORS, open_nifti
from medseg.io.nifti_place import place_of
from medseg.labels.table import LabelTable
from medseg.spatial.geometry import Geometry

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
NIFTI_SUFFIXES = (".nii.gz", ".nii")


def as_labels(values: npt.ArrayLike | torch.Tensor, *, force_uint16: bool = False) -> LabelArray:
    """(I, J, K) whole numbers 0..65535 of any dtype -> uint8, or uint16 when a label exceeds 255.

    Raises:
        ValueError: other dimensions, or values that are no labels.
    """
    found = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if found.ndim != 3 or found.size == 0:
        raise ValueError(f"a label map has the axes (I, J, K), found shape {found.shape}")
    low, high = found.min(), found.max()
    if not (low >= 0 and high <= 65535):
        raise ValueError(f"labels must lie in 0..65535, found {low}..{high}")
    wide = bool(high > 255) or force_uint16
    labels: LabelArray = found.astype(np.uint16, copy=False) if wide else found.astype(np.uint8, copy=False)
    if found.dtype.kind == "f" and not np.array_equal(labels, found):
        raise ValueError("labels must be whole numbers, found fractions; take the argmax or round first")
    return labels


def check_label_map(labels: LabelArray, geometry: Geometry, table: LabelTable | None) -> None:
    """Refuse what a viewer would show wrongly: another grid, a sheared grid, a label without a name."""
    if labels.shape != geometry.shape:
        raise ValueError(f"the label map has shape {labels.shape}, its geometry {geometry.shape}")
    if geometry.is_sheared:
        raise InputError(
            "the grid is sheared (gantry tilt), which viewers silently straighten; use an orthogonal grid",
            code="sheared_affine",
        )
    if table is not None:
        numbers = {label.number for label in table}
        unknown = set(range(1, int(labels.max()) + 1)) - numbers
        boxes = ndimage.find_objects(labels) if unknown else []
        nameless = sorted(number for number in unknown if boxes[number - 1])
        if nameless:
            raise ValueError(f"the label table lacks the labels {nameless} of the label map")


def write_labels(
    labels: npt.ArrayLike | torch.Tensor,
    geometry: Geometry,
    path: Path,
    *,
    table: LabelTable | None = None,
    force_uint16: bool = False,
) -> None:
    """Write an (I, J, K) label map as NIfTI that every viewer places alike; equal labels give equal bytes.

    Args:
        labels: whole numbers 0..65535 on the grid `geometry`.
        geometry: an orthogonal grid.
        path: ends in ``.nii.gz`` or ``.nii``.
        table: when given, every label of the map must be in it.
        force_uint16: store two bytes a voxel even where one would do.

    Raises:
        ValueError: the values are no labels, do not fit the grid or the table, or the suffix is unknown.
        InputError: the grid is sheared, or too far away for the header's single precision.
    """
    if not path.name.endswith(NIFTI_SUFFIXES):
        raise ValueError(f"{path.name}: a NIfTI label map must end in .nii.gz or .nii")
    array = as_labels(labels, force_uint16=force_uint16)
    check_label_map(array, geometry, table)
    _write(nib.Nifti1Image(array, geometry.affine, nifti_header(array, geometry)), path)


def write_shares(shares: npt.NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    """Write an (I, J, K) map of bytes as NIfTI whose slope of 1/255 makes every reader show 0 to 1."""
    image = nib.Nifti1Image(shares, geometry.affine, nifti_header(shares, geometry))
    image.header.set_slope_inter(1 / 255, 0.0)
    image.header.set_intent("none")
    _write(image, path)


def _write(image: nib.Nifti1Image, path: Path) -> None:
    with whole_file(path) as temporary, deterministic_stream(temporary) as stream:
        image.to_stream(stream)


def read_labels(path: Path) -> tuple[LabelArray, Geometry]:
    """Read an (I, J, K) label map and its grid from a NIfTI file; trailing axes of length one are dropped.

    Raises:
        InputError: the file is damaged, does not say where it lies, or its voxels are no labels.
    """
    file = open_nifti(path)
    try:
        voxels = file.voxels()
    except READ_ERRORS as error:
        raise InputError(
            f"{path.name}: cannot be read as NIfTI; export or copy it again", code="corrupt_file"
        ) from error
    affine = place_of(file, or_centred=True).affine
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    try:
        labels = as_labels(voxels)
    except ValueError as error:
        raise InputError(f"{path.name}: {error}", code="not_labels") from error
    try:
        return labels, Geometry(cast(tuple[int, int, int], labels.shape), affine)
    except ValueError as error:
        raise InputError(f"{path.name}: {error}; repair the header", code="no_geometry") from None


def write_color_table(table: LabelTable, path: Path) -> None:
    """Write `table` as a colour table (``.ctbl``) of 3D Slicer, background 0 included.

    Slicer separates columns by spaces and shows underscores as spaces, so names lose their underscores.
    """
    lines = [f"# Color table file {path.name}", f"# {len(table) + 1} values", "0 background 0 0 0 0"]
    for label in table:
        red, green, blue = label.color
        lines.append(f"{label.number} {'_'.join(label.name.split())} {red} {green} {blue} 255")
    write_text_whole(path, "\n".join(lines) + "\n")


def nifti_header(labels: npt.NDArray[np.generic], geometry: Geometry) -> nib.Nifti1Header:
    """A label map's header, both forms as `geometry` says."""
    header = nib.Nifti1Header()
    header.set_data_dtype(labels.dtype)
    header.set_data_shape(labels.shape)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(1.0, 0.0)
    header.set_intent("label")
    header.set_sform(geometry.affine, code=1)
    if not _places(header.get_sform(), geometry):
        raise InputError(
            f"NIfTI cannot hold the affine {geometry.affine.tolist()} to half a voxel; move the origin nearer to 0",
            code="affine_precision",
        )
    # The rotation of the qform, in single precision, is off by up to 4e-4 near half a turn: rather none then.
    header.set_qform(geometry.affine, code=1)
    if not _places(header.get_qform(), geometry):
        header.set_qform(None, code=0)
    return header


def _places(form: npt.NDArray[np.float64], geometry: Geometry) -> bool:
    """Whether `form` puts each corner within half a voxel of its place."""
    return Geometry(geometry.shape, form).is_close(geometry, min(geometry.spacing_mm) / 2)


@contextmanager
def deterministic_stream(path: Path) -> Iterator[IOBase]:
    """A binary stream into `path`, compressed by suffix, whose gzip header holds neither name nor time."""
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with GzipNGFile(filename="", mode="wb", compresslevel=5, fileobj=raw, mtime=0) as stream:
            yield stream
