"""Scans of two channels on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.config import ChannelsConfig
from medseg.spatial.geometry import Geometry
from sample_data.two_channels import centred_grid, two_channels
from tests.support.scans import write_nifti

GRID = centred_grid()
BOTH = ChannelsConfig(names=("T1w", "FLAIR"), by="bids")


def write_case(folder: Path, *stems: str, seed: int = 0, grid: Geometry = GRID) -> np.ndarray:
    """Channel n of the phantom as file n; returns the truth."""
    channels, truth = two_channels(grid, seed=seed, shift_mm=3.0 * seed)
    for stem, channel in zip(stems, channels, strict=False):
        write_nifti(channel, folder / f"{stem}.nii.gz")
    return truth
