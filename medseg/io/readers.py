"""The readers of NIfTI and of NRRD, MetaImage and MGH files as MONAI's `LoadImage` takes them.

They lie apart from what judges headers, which needs neither MONAI nor PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from medseg.io.nifti import header_geometry, voxels_of
from medseg.io.nifti_header import NiftiFile, open_nifti
from medseg.io.precision import to_single
from medseg.spatial.geometry import Geometry

if TYPE_CHECKING:
    from medseg.io.volume_files import VolumeFile


class NiftiReader(ImageReader):
    """MONAI reader of one NIfTI volume: as stored, with the affine to RAS+ mm of its header."""

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether the name ends in .nii or .nii.gz."""
        names = [filename] if isinstance(filename, (str, Path)) else list(filename)
        return all(str(n).lower().endswith((".nii", ".nii.gz")) for n in names)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> NiftiFile:
        """Open the one file given."""
        names = [data] if isinstance(data, (str, Path)) else list(data)
        return open_nifti(Path(names[0]))

    def get_data(self, img: NiftiFile) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """(I, J, K) float32 voxels and the metadata that `LoadImage` needs."""
        geometry, _ = header_geometry(img)
        return voxels_of(img), geometry_meta(geometry)


class VolumeReader(ImageReader):
    """MONAI reader of one NRRD, MetaImage or MGH volume: as stored, with its affine to RAS+ mm."""

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether the name is one of these formats."""
        from medseg.io.volume_files import SUFFIXES

        names = [filename] if isinstance(filename, (str, Path)) else list(filename)
        return str(names[0]).lower().endswith(SUFFIXES)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> VolumeFile:
        """Open the file."""
        from medseg.io.volume_files import open_volume  # SimpleITK takes a while to import

        names = [data] if isinstance(data, (str, Path)) else list(data)
        return open_volume(Path(names[0]))

    def get_data(self, img: VolumeFile) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """(I, J, K) float32 voxels and the metadata that `LoadImage` needs."""
        return to_single(img.voxels(), img.paths[0].name), geometry_meta(img.geometry)


def geometry_meta(geometry: Geometry) -> dict[str, Any]:
    """MONAI metadata that says nothing but where the voxels lie."""
    return {
        MetaKeys.AFFINE: geometry.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: geometry.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(geometry.shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        MetaKeys.SPACE: SpaceKeys.RAS,
    }
