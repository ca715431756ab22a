"""What a scan says about itself before anything is decided: numbers only, no path and no name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from pydantic import BaseModel, ConfigDict

from medseg.errors import InputError
from medseg.spatial.geometry import Geometry

QUOTED_PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)


class ScanFingerprint(BaseModel):
    """One scan in numbers.

    Attributes:
        shape: voxels along R, A, S.
        spacing_mm: along R, A, S.
        percentiles: 0.5, 5, 50, 95, 99.5 of the intensities inside the foreground.
        foreground_share: of all voxels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    modality: Literal["CT", "MR"]
    percentiles: tuple[float, float, float, float, float]
    foreground_share: float

    @classmethod
    def of(cls, image: MetaTensor, foreground: MetaTensor, modality: str = "") -> ScanFingerprint:
        """Measure a native (1, I, J, K) image inside its foreground; `modality` as DICOM says, if it does."""
        geometry = Geometry.of(image)
        order = np.argsort(np.argmax(np.abs(geometry.affine[:3, :3] / np.asarray(geometry.spacing_mm)), axis=0))
        inside = image.as_tensor()[foreground.as_tensor() > 0]
        percentiles = percentiles_of(inside, QUOTED_PERCENTILES)
        if percentiles[0] == percentiles[-1]:
            raise InputError(
                f"99 % of the intensities inside the foreground are {percentiles[0]:g}, expected an image; "
                "check the scan and its mask",
                code="constant",
            )
        known: Literal["CT", "MR"] = "CT" if modality == "CT" or (not modality and is_hounsfield(image)) else "MR"
        return cls(
            shape=tuple(geometry.shape[a] for a in order),  # type: ignore[arg-type]
            spacing_mm=tuple(geometry.spacing_mm[a] for a in order),  # type: ignore[arg-type]
            modality=known,
            percentiles=tuple(percentiles),  # type: ignore[arg-type]
            foreground_share=float(foreground.as_tensor().mean()),
        )


def is_hounsfield(image: MetaTensor) -> bool:
    """Whether the intensities look like CT: tissue around 0, with air or lung below it, or fat and soft tissue apart.

    Below air, -1200 HU, there is only padding of one value, -4096 at least, and a little noise; phase images of MR and
    other signed numbers have more. A crop inside the abdomen has no air: there fat (-140 to -60 HU) and soft tissue
    (0 to 80 HU) are two peaks of the histogram.
    """
    voxels = image.as_tensor().flatten()[:: max(1, image.numel() // 1_000_000)]
    lowest = float(voxels.min())
    below_air = float(((voxels < -1200) & (voxels > lowest + 0.5)).float().mean())
    if lowest < -4096 or below_air > 0.05:
        return False
    air_or_lung = float(((voxels > -1100) & (voxels < -600)).float().mean())
    near_tissue = float(((voxels > -200) & (voxels < 300)).float().mean())
    return near_tissue > 0.05 and (air_or_lung > 0.01 or _has_fat_and_soft_tissue(voxels))


def _has_fat_and_soft_tissue(voxels: torch.Tensor) -> bool:
    """Two peaks in bins of 20 HU, each 3 % of all (V,) voxels or more, and between them three quarters at most."""
    bins = torch.histc(voxels.float(), bins=11, min=-140, max=80) / voxels.numel()
    peaks = min(float(bins[:4].max()), float(bins[7:].max()))
    return peaks > 0.03 and float(bins[4:7].min()) < 0.75 * peaks


def percentiles_of(values: torch.Tensor, percentiles: Sequence[float], max_values: int = 1_000_000) -> list[float]:
    """Percentiles of a 1-D tensor, from a regular sample of at most `max_values` of it."""
    sample = values[:: max(1, -(-values.numel() // max_values))].double().cpu().numpy()
    return [float(v) for v in np.percentile(sample, percentiles)]
