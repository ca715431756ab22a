"""A CT of a trunk: lung, fat, muscle, an organ, bone."""

from __future__ import annotations

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

TISSUES = {1: -850.0, 2: -100.0, 3: 45.0, 4: 60.0, 5: 500.0}
"""Lung, fat, muscle, an organ that is hardly brighter, bone."""


def ct(seed: int, n_slices: int = 40) -> tuple[MetaTensor, np.ndarray]:
    """A trunk of 64 x 48 x 40 voxels of 4 mm, and its tissues; the crop moves with the seed."""
    i, j, k = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (64, 48, n_slices)), indexing="ij")
    j = j + seed
    truth = np.zeros(i.shape, dtype=int)
    truth[(i / 26) ** 2 + (j / 18) ** 2 < 1] = 2
    truth[(i / 23) ** 2 + (j / 15) ** 2 < 1] = 3
    truth[((i - 10) / 8) ** 2 + (j / 9) ** 2 + ((k - 9) / 9) ** 2 < 1] = 1
    truth[((i + 10) / 10) ** 2 + (j / 9) ** 2 + ((k + 5) / 12) ** 2 < 1] = 4
    truth[(i / 4) ** 2 + ((j - 9) / 4) ** 2 < 1] = 5
    hu = np.select([truth == n for n in TISSUES], list(TISSUES.values()), -1000.0)
    hu += np.random.default_rng(seed).normal(0, 12, hu.shape)
    affine = torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(hu[None].astype(np.float32)), affine=affine), truth
