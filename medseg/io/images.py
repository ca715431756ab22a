"""Images and masks as Python code has them in hand, brought to (C, I, J, K) tensors in RAS+ mm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.errors import ConfigError, InputError
from medseg.io.nifti import checked_geometry, grey_shape, volume_shape
from medseg.io.nifti_header import READ_ERRORS, NiftiFile
from medseg.io.nifti_place import place_of
from medseg.io.read import check_voxels, mask_on, read_mask, read_scan
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

AnyImage: TypeAlias = "MetaTensor | Scan | Path | str | nib.spatialimages.SpatialImage | sitk.Image"
"""What a model takes as an image: each of these says where its voxels lie."""
AnyMask: TypeAlias = "MetaTensor | Path | str | nib.spatialimages.SpatialImage | sitk.Image"
_NAME = "the image"
_TAKEN = "a path, a Scan, a nibabel image, a SimpleITK image, or a MetaTensor (C, I, J, K) with its affine to RAS+ mm"


def as_image(source: AnyImage) -> MetaTensor:
    """The (C, I, J, K) float32 image with its affine to RAS+ mm; a MetaTensor is returned as it is.

    Images in memory are held to the rules of files: one volume of grey values on a grid at right angles that says where
    it lies. The unit of a NIfTI header counts; SimpleITK's LPS+ coordinates are turned into RAS+.

    Raises:
        ConfigError: `source` is something else.
        InputError: the image is refused; `code` says why.
    """
    if isinstance(source, MetaTensor):
        return source
    if isinstance(source, (Scan, Path, str)):
        return read_scan(source)
    image = _tensor(*_in_memory(source))
    check_voxels(image, _NAME)
    return image


def as_mask(source: AnyMask, geometry: Geometry) -> MetaTensor:
    """The (1, I, J, K) mask of 0 and 1 on `geometry`; a MetaTensor is returned as it is.

    Raises:
        ConfigError: `source` is something else.
        InputError: ``mask_mismatch``, ``empty_mask``, or what a file or an image is refused for.
    """
    if isinstance(source, MetaTensor):
        return source
    if isinstance(source, (Path, str)):
        return read_mask(Path(source), geometry)
    return mask_on(_tensor(*_in_memory(source)), geometry, "the mask")


def _in_memory(source: object) -> tuple[npt.NDArray[np.float32], Geometry]:
    """(I, J, K) voxels and grid of an image of nibabel or SimpleITK."""
    if isinstance(source, nib.spatialimages.SpatialImage):
        return _of_nibabel(source)
    import SimpleITK as sitk  # noqa: N813 - takes a while to import

    if isinstance(source, sitk.Image):
        return _of_itk(source)
    kind = type(source)
    where = ", which does not say where its voxels lie" if isinstance(source, (np.ndarray, torch.Tensor)) else ""
    raise ConfigError(f"found an object of type {kind.__module__}.{kind.__qualname__}{where}, expected {_TAKEN}")


def _of_nibabel(image: nib.spatialimages.SpatialImage) -> tuple[npt.NDArray[np.float32], Geometry]:
    if isinstance(image, nib.Nifti1Pair):
        geometry = _grid_of_nifti(image)
    elif isinstance(image, nib.MGHImage):
        if int(image.header["goodRASFlag"]) != 1:
            raise InputError(f"{_NAME}: the header does not say where the voxels lie, expected its RAS flag set; "
                             "give an affine", code="no_geometry")  # fmt: skip
        geometry = checked_geometry(volume_shape(image.shape, _NAME), image.affine, _NAME)
    else:
        raise InputError(f"{_NAME}: found nibabel's {type(image).__name__}, expected a NIfTI or MGH image; convert it",
                         code="unsupported_format")  # fmt: skip
    try:
        return np.asarray(image.dataobj, dtype=np.float32).reshape(geometry.shape), geometry
    except (*READ_ERRORS, MemoryError):
        raise InputError(f"{_NAME}: the voxels end early or are damaged; export or copy the file again",
                         code="corrupt_file") from None  # fmt: skip


def _grid_of_nifti(image: nib.Nifti1Pair) -> Geometry:
    """The grid that the header says, once it says what the affine does."""
    if image.affine is None:
        raise InputError(f"{_NAME}: found no affine, so it does not say where the voxels lie; give it one",
                         code="no_geometry")  # fmt: skip
    header: Any = type(image)(image.dataobj, image.affine, image.header).header
    pixdim = tuple(float(x) for x in header["pixdim"][1:4])
    file = NiftiFile(Path(_NAME), header, False, tuple(image.shape), 1.0, 0.0, pixdim)
    return checked_geometry(grey_shape(file), place_of(file).affine, _NAME)


def _of_itk(image: sitk.Image) -> tuple[npt.NDArray[np.float32], Geometry]:
    import SimpleITK as sitk  # noqa: N813

    from medseg.io.volume_files import affine_of_itk

    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{_NAME}: found several values a voxel, expected one grey value each; convert it",
                         code="colour")  # fmt: skip
    shape = volume_shape(tuple(image.GetSize()), _NAME)
    geometry = checked_geometry(shape, affine_of_itk(image, image.GetDimension()), _NAME)
    return sitk.GetArrayFromImage(image).T.astype(np.float32).reshape(shape), geometry


def _tensor(voxels: npt.NDArray[np.float32], geometry: Geometry) -> MetaTensor:
    return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(geometry.affine.copy()))
