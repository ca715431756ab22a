"""From a cohort's fingerprint to a plan, and from a scan to its working image.

The plan is made once from the training scans and written into the model folder; `Plan.prepare` is all that
a scan goes through before the network sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.croppad.array import SpatialCrop
from monai.transforms.intensity.array import ScaleIntensityRange
from monai.transforms.spatial.array import Orientation
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medseg.config import Config
from medseg.errors import InputError
from medseg.preprocessing.fingerprint import ScanFingerprint, is_hounsfield, percentiles_of
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.prepare import WorkingGrid, channels_of
from medseg.spatial.geometry import Geometry, person_unit_mm

MARGIN_VOXELS = 4
"""Working voxels that are kept around the foreground, so that its border is seen from both sides."""


LEAST_WORKING, LEAST_WORKING_VOXELS, MOST_WORKING_VOXELS = 1.5, 64, 2_000_000_000
"""Working voxels of a body along each axis, and of its box: of less nothing is learned, more fit no memory."""

OUTLIER_REACH = 0.5
"""How far beyond its brightest part tissue reaches at most, as a share of that part's distance from the median.

Measured: 0.08 to 0.23 in thirteen skull-stripped T1 brains, 1.4 and more with contrast agent in a tumour.
"""

SAME_SPACING = 0.2
"""Relative difference up to which a scan's own spacing passes for the working spacing."""


_Millimetres = Annotated[float, Field(gt=0, le=1000)]


class Plan(BaseModel):
    """Decisions made once from the training scans.

    Attributes:
        spacing_mm: working grid, along R, A, S.
        window_hu: intensity range of CT; None: `percentiles` of each scan.
        patch_size, batch_size: voxels along an axis, patches in a step.
        channels: size of the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    modality: Literal["CT", "MR"]
    spacing_mm: tuple[_Millimetres, _Millimetres, _Millimetres]
    window_hu: tuple[float, float] | None
    percentiles: tuple[float, float]
    foreground: Literal["auto", "nonzero", "all"]
    patch_size: int = Field(ge=1, le=1024)
    batch_size: int = Field(ge=1, le=65536)
    channels: int = Field(ge=1, le=256)
    percentile_region: Literal["mask", "scan"] = "mask"
    outlier_share: float = 0.0

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Plan:
        for low, high in filter(None, (self.window_hu, self.percentiles)):
            if low >= high:
                raise ValueError(f"ranges must ascend, found {low}, {high}")
        return self

    @classmethod
    def fit(cls, fingerprints: Sequence[ScanFingerprint], config: Config, memory_gb: float = 0.0) -> Plan:
        """Decide from the scans' fingerprints; what the config fixes is taken from it.

        Args:
            memory_gb: memory of the GPU; 0 on a CPU, where one patch a step keeps every core busy.
        """
        chosen = config.preprocessing
        modality = chosen.modality if chosen.modality != "auto" else commonest_modality(fingerprints)
        spacing = chosen.spacing_mm or _planned_spacing(fingerprints, config)
        patch_size = config.training.patch_size or _planned_patch_size(fingerprints, spacing)
        return cls(
            modality=modality,
            spacing_mm=spacing,
            window_hu=chosen.window_hu if modality == "CT" else None,
            percentiles=chosen.percentiles,
            foreground=chosen.foreground,
            patch_size=patch_size,
            batch_size=config.training.batch_size or _planned_batch_size(patch_size, memory_gb),
            channels=config.autoencoder.channels or (24 if memory_gb >= 16 else 16),
            percentile_region=chosen.percentile_region,
            outlier_share=chosen.outlier_share,
        )

    def foreground_of(self, image: MetaTensor, mask: MetaTensor | None = None) -> MetaTensor:
        """(1, I, J, K) of 0 and 1 on the grid of `image`: the given mask, or the foreground found."""
        return foreground_of(image, mask, self.foreground)

    def intensity_range(self, image: MetaTensor, foreground: MetaTensor) -> tuple[float, float]:
        """The intensities of a (1, I, J, K) image, one channel of a scan, that become 0 and 1.

        Where `outlier_share` of the foreground may be brighter than every tissue, the range ends soon above the rest:
        outliers would leave the tissues a few bins of every histogram.
        """
        if self.window_hu is not None:
            return self.window_hu
        if self.percentile_region == "scan":
            foreground = foreground_of(image, None, self.foreground)
        inside = image.as_tensor().numpy()[foreground.as_tensor().numpy() > 0]
        wanted = (*self.percentiles, 50.0, 100 * (1 - self.outlier_share))
        low, high, middle, bright = percentiles_of(torch.from_numpy(inside), wanted)
        if self.outlier_share > 0:
            high = min(high, bright + OUTLIER_REACH * (bright - middle))
        if high > low >= 0:
            low = 0.0  # shading is a factor, so zero must stay zero
        if not high > low:
            raise InputError("the intensities inside the foreground are all the same; check the scan and its mask",
                             code="constant")  # fmt: skip
        return low, high

    def transforms(self, image: MetaTensor, foreground: MetaTensor, *, clip: bool = True) -> Compose:
        """MONAI transforms for one channel of this scan: crop to the foreground, RAS, working spacing, [0, 1].

        Args:
            clip: whether intensities beyond the range end at 0 and 1.
        """
        low, high = self.intensity_range(image, foreground)
        return self._transforms(foreground, low, high, clip=clip)

    def _transforms(self, foreground: MetaTensor, low: float, high: float, *, clip: bool) -> Compose:
        return Compose([*self._grid_transforms(foreground), ScaleIntensityRange(low, high, 0.0, 1.0, clip=clip)])

    def to_working_grid(
        self, image: MetaTensor, foreground: MetaTensor, *, clip: bool = True
    ) -> tuple[MetaTensor, MetaTensor]:
        """A native (C, I, J, K) image and its (1, I, J, K) foreground on the working grid.

        Raises:
            InputError: ``too_small`` or ``too_large`` for this grid; nothing but one intensity in the foreground.
        """
        self._check_size(foreground)
        parts = []
        for channel in channels_of(image):
            low, high = self.intensity_range(channel, foreground)
            parts.append(self._transforms(foreground, low, high, clip=clip)(_darkened(channel, foreground, low)))
        working = (
            parts[0]
            if len(parts) == 1
            else MetaTensor(torch.cat([part.as_tensor() for part in parts]), affine=parts[0].affine)
        )
        inside = Compose(self._grid_transforms(foreground))(foreground)
        return _plain(working), _plain(MetaTensor((inside.as_tensor() >= 0.5).float(), affine=inside.affine))

    def _check_size(self, foreground: MetaTensor) -> None:
        """Refuse a foreground that is hardly a voxel thick, or beyond all memory, on the working grid."""
        start, end = _box(foreground, 0.0)
        geometry = Geometry.of(foreground)
        extent_mm = np.subtract(end, start) * geometry.spacing_mm
        n_voxels = extent_mm[list(geometry.ras_axes)] / self.spacing_mm
        found = f"the body is {_told(extent_mm.tolist())} mm large, expected"
        grid = f"voxels of {_told(self.spacing_mm)} mm"
        do = "check the voxel size of the scan, or set preprocessing.spacing_mm"
        if n_voxels.min() < LEAST_WORKING or n_voxels.prod() < LEAST_WORKING_VOXELS:
            least = f"{LEAST_WORKING:g} or more along each axis and {LEAST_WORKING_VOXELS} together"
            raise InputError(f"{found} {grid}, {least}; {do}", code="too_small")
        if n_voxels.prod() > MOST_WORKING_VOXELS:
            raise InputError(f"{found} at most {MOST_WORKING_VOXELS:,} {grid}; {do}", code="too_large")

    def _grid_transforms(self, foreground: MetaTensor) -> list[Callable[..., Any]]:
        start, end = _box(foreground, MARGIN_VOXELS * max(self.spacing_mm))
        crop = SpatialCrop(roi_start=start, roi_end=end)
        spacing = np.array(Geometry.of(foreground).in_ras_order().spacing_mm)
        # Near the working spacing the scan keeps its own grid: interpolation would smooth its noise unevenly,
        # and a network that sees patches does not mind a fifth more or less.
        if np.abs(np.log(np.array(self.spacing_mm) / spacing)).max() > np.log(1 + SAME_SPACING):
            return [crop, WorkingGrid(self.spacing_mm)]
        return [crop, Orientation(axcodes="RAS", labels=None)]


def _told(sizes_mm: Sequence[float]) -> str:
    """Sizes for people."""
    return " x ".join(f"{mm:,.0f}" if mm >= 100 else f"{mm:.3g}" for mm in sizes_mm)


def _darkened(image: MetaTensor, foreground: MetaTensor, low: float) -> MetaTensor:
    """The image with `low` in place of the one brighter value that all voxels outside the foreground have, if so.

    A brain of z-scores has 0 around it, which is grey matter: at its border, voxels would be mixed of both.
    """
    outside = image.as_tensor()[foreground.as_tensor() == 0]
    if not len(outside) or float(outside[0]) <= low or not bool((outside == outside[0]).all()):
        return image
    return MetaTensor(image.as_tensor().where(foreground.as_tensor() > 0, low), affine=image.affine)


def _box(foreground: MetaTensor, margin_mm: float) -> tuple[list[int], list[int]]:
    """First and last-plus-one voxel of the foreground with its margin."""
    geometry = Geometry.of(foreground)
    inside = foreground.as_tensor()[0].numpy() > 0
    start, end = [], []
    for axis, spacing in enumerate(geometry.spacing_mm):
        filled = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(margin_mm / spacing))
        start.append(max(0, int(filled[0]) - margin))
        end.append(min(geometry.shape[axis], int(filled[-1]) + 1 + margin))
    return start, end


def _plain(image: MetaTensor) -> MetaTensor:
    """The same voxels and affine without MONAI's record of what was done to them."""
    return MetaTensor(image.as_tensor().float().contiguous(), affine=torch.as_tensor(image.affine).double())


def commonest_modality(fingerprints: Sequence[ScanFingerprint]) -> Literal["CT", "MR"]:
    """Of the scans; MR when there are as many of both."""
    n_ct = sum(f.modality == "CT" for f in fingerprints)
    return "CT" if 2 * n_ct > len(fingerprints) else "MR"


def check_modality(image: MetaTensor, modality: Literal["CT", "MR"], *, is_named: bool) -> None:
    """Refuse a (C, I, J, K) image whose intensities are certainly those of another modality.

    Args:
        is_named: the config names it: then what looks like CT is believed to be MR. Hounsfield units without a negative
            one are never believed.

    Raises:
        InputError: ``other_modality``.
    """
    first = channels_of(image)[0]
    if modality == "MR" and not is_named and is_hounsfield(first):
        raise other_modality("CT", "MR, as the model was fitted to")
    if modality == "CT" and float(first.as_tensor().min()) >= 0 and not is_hounsfield(first):
        raise other_modality("no CT, no intensity of which is negative", "Hounsfield units")


def other_modality(found: str, expected: str) -> InputError:
    """What a scan is told that a model cannot be for."""
    return InputError(
        f"the scan is {found}, expected {expected}; one model serves one of them, run the {found} scans on their own",
        code="other_modality",
    )


def _planned_spacing(fingerprints: Sequence[ScanFingerprint], config: Config) -> tuple[float, float, float]:
    """Isotropic at the median scan's mean voxel size; the scans' own grid where it is close to isotropic."""
    chosen = config.preprocessing
    spacings = np.array([f.spacing_mm for f in fingerprints])
    median = np.median(spacings, axis=0)
    if median.max() > 2.0 * median.min():
        median = np.full(3, np.exp(np.log(spacings).mean(axis=1)).mean())
    unit = float(np.median([person_unit_mm(f.shape, f.spacing_mm) for f in fingerprints]))
    median = np.clip(median, unit * chosen.min_spacing_mm, chosen.max_spacing_mm)
    return tuple(round(float(s), 4 if s >= 0.5 else 6) for s in median)  # type: ignore[return-value]


def _planned_patch_size(fingerprints: Sequence[ScanFingerprint], spacing_mm: tuple[float, float, float]) -> int:
    """The largest of 24, 32, 40 that fits into the median scan on the working grid."""
    extents = np.array([np.asarray(f.shape) * f.spacing_mm / spacing_mm for f in fingerprints])
    smallest = float(np.median(extents, axis=0).min())
    return max((size for size in (24, 32, 40) if size <= smallest), default=24)


def _planned_batch_size(patch_size: int, memory_gb: float) -> int:
    """As many patches as a tenth of the GPU's memory holds, 8 at most; about 6 kB a voxel in training."""
    return int(np.clip(memory_gb * 0.1 / (patch_size**3 * 6e-6), 1, 8))
