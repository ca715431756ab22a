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

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    """Whether the intensities look like CT: air at -1000, nothing below -4096, tissue around 0."""
    voxels = image.as_tensor().flatten()[:: max(1, image.numel() // 1_000_000)]
    near_air = float(((voxels > -1100) & (voxels < -850)).float().mean())
    near_tissue = float(((voxels > -200) & (voxels < 300)).float().mean())
    return float(voxels.min()) >= -4096 and near_air > 0.01 and near_tissue > 0.05


def percentiles_of(values: torch.Tensor, percentiles: Sequence[float], max_values: int = 1_000_000) -> list[float]:
    """Percentiles of a 1-D tensor, from a regular sample of at most `max_values` of it."""
    sample = values[:: max(1, -(-values.numel() // max_values))].double().cpu().numpy()
    return [float(v) for v in np.percentile(sample, percentiles)]
