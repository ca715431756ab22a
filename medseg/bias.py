"""Smooth shading of MR: one multiplicative field, estimated together with the tissues, never by itself.

x(v) = bias(v) * mean_k + noise: a Gaussian mixture whose responsibilities say what the intensity should be, and
a kernel-smoothed ratio that says by how much it is off (Wells et al., "Adaptive segmentation of MRI data", IEEE
TMI 15:429, 1996). The field is kept on a coarse grid and resampled where it is needed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.geometry import Geometry, resample
from medseg.histogram import Histogram, gaussian_em, start_means

Array = npt.NDArray[np.float32]
CELL_MM = 8.0
_THIN_ABOVE = 500_000
"""Foregrounds of more voxels are thinned to every second voxel along each axis: the field is smooth."""
N_ROUNDS = 12


def estimate_bias(image: MetaTensor, foreground: MetaTensor, *, n_tissues: int, sigma_mm: float) -> MetaTensor:
    """Estimate the field of one scan inside its foreground.

    Args:
        image: (1, I, J, K), not negative; the scale does not matter.
        sigma_mm: standard deviation of the Gaussian that smooths the field.

    Returns:
        (1, i, j, k) field on a coarse grid, one on average inside; `resample` brings it to any other grid.
    """
    inside = foreground.as_tensor()[0].cpu().numpy() > 0
    step = 2 if inside.sum() > _THIN_ABOVE else 1
    thin = (slice(None, None, step),) * 3
    field = _SmoothRatio(inside[thin], Geometry.of(image).every(step), sigma_mm)
    voxels = image.as_tensor()[0].cpu().numpy()[thin][inside[thin]]
    bias = np.ones_like(voxels)
    mixture = None
    for _ in range(N_ROUNDS):
        histogram = Histogram.of(voxels / bias)
        mixture = gaussian_em(histogram, n_tissues, start=mixture, n_rounds=5 if mixture else 20)
        weights = mixture.responsibilities(histogram.centres) / mixture.sds**2
        numerator = np.interp(voxels / bias, histogram.centres, weights @ mixture.means)
        denominator = np.interp(voxels / bias, histogram.centres, weights @ mixture.means**2)
        bias = field(numerator * voxels, denominator)
    return field.coarse


class _SmoothRatio:
    """smooth(numerator) / smooth(denominator) on a coarse grid of blocks, brought back to the foreground's voxels."""

    def __init__(self, inside: npt.NDArray[np.bool_], geometry: Geometry, sigma_mm: float) -> None:
        self.inside, self.geometry = inside, geometry
        self.cell = tuple(max(1, round(CELL_MM / s)) for s in geometry.spacing_mm)
        self.lattice = geometry.lattice(self.cell)
        self.sigma = [sigma_mm / s for s in self.lattice.spacing_mm]
        self.coarse = MetaTensor(torch.ones((1, *self.lattice.shape)), affine=torch.tensor(self.lattice.affine))

    def __call__(self, numerator: Array, denominator: Array) -> Array:
        """(V,) parts at the foreground's voxels -> (V,) field there, one on average."""
        smooth = [
            ndimage.gaussian_filter(self._sums(part), self.sigma, mode="constant") for part in (numerator, denominator)
        ]
        ratio = smooth[0] / np.maximum(smooth[1], 1e-6 * smooth[1].max())
        self.coarse = MetaTensor(torch.from_numpy(ratio[None]).float(), affine=self.coarse.affine)
        field = resample(self.coarse, self.geometry).as_tensor()[0].numpy()[self.inside]
        self.coarse = self.coarse / float(field.mean())
        return np.asarray(field / field.mean(), dtype=np.float32)

    def _sums(self, values: Array) -> Array:
        """Sum of the values in each block."""
        volume = np.zeros(self.inside.shape, dtype=np.float32)
        volume[self.inside] = values
        padded = np.pad(volume, [(0, -n % c) for n, c in zip(volume.shape, self.cell, strict=True)])
        blocks = [part for n, c in zip(padded.shape, self.cell, strict=True) for part in (n // c, c)]
        return np.asarray(padded.reshape(blocks).sum(axis=(1, 3, 5)), dtype=np.float32)
