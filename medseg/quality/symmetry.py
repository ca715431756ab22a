"""The plane that a body is nearly symmetric about, and what has no counterpart on the other side of it.

Heads, brains, chests and limbs seen as a pair repeat themselves left and right; a lesion seldom does. The plane is the
one whose reflection correlates best with the scan (Liu, Collins and Rothfus, "Robust midsagittal plane extraction
from normal and pathological 3-D neuroradiology images", IEEE TMI 20:175, 2001, there slice by slice by edges). No
body is quite symmetric, so a voxel is compared with everything near its mirrored place, not with one voxel there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import optimize
from torch.nn import functional

from medseg.errors import InputError
from medseg.preprocessing.histogram import median_and_spread
from medseg.preprocessing.prepare import Prepared
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

LEAST_CORRELATION = 0.85
"""Scans that correlate less with their reflection are not compared with it: heads more, trunks less."""
SMOOTH_MM = 2.0
"""Standard deviation of the smoothing of what is compared."""
TOLERANCE_MM = 4.0
"""Half the edge of the cube around the mirrored place that a voxel is compared with."""
_PLANE_MM = 5.0
_PLANE_SIGMA_MM = 4.0
_START_TURNS = (-0.17, 0.0, 0.17)
"""Turns about the vertical axis, in radians, that the search for the plane starts from."""
_START_STEPS = (0.1, 0.1, 0.08)
"""First steps of the search: two angles in radians, and the offset in units of 100 mm."""
_LARGEST_TURN = 0.6
"""Angle in radians beyond which a plane does not divide left from right any more."""

FloatArray = npt.NDArray[np.float64]


class Mirror(NamedTuple):
    """A reflection and how well the scan agrees with it.

    Attributes:
        affine: (4, 4) RAS+ mm -> mirrored RAS+ mm.
        correlation: of the smoothed scan with its reflection, where both have foreground, -1 to 1.
    """

    affine: FloatArray
    correlation: float


def find_mirror(prepared: Prepared) -> Mirror:
    """The reflection, roughly left to right, that the scan correlates best with, its outline included."""
    grid = Geometry.of(prepared.network_image)
    coarse = grid.lattice([max(1, round(_PLANE_MM / spacing)) for spacing in grid.spacing_in_person_mm])
    parts = resample(MetaTensor(_smooth(prepared, _PLANE_SIGMA_MM), affine=torch.tensor(grid.affine)), coarse)
    centre = coarse.to_world(np.argwhere(parts.as_tensor()[-1].numpy() > 0.5)).mean(axis=0)
    standard = _standardised(parts.as_tensor()[:-1])

    def disagreement(plane: FloatArray) -> float:
        if np.abs(plane[:2]).max() > _LARGEST_TURN:
            return 1.0
        mirrored = _mirrored(parts, _reflection(plane, centre), coarse)[:-1]
        return -float((standard * _standardised(mirrored)).mean())

    found = []
    for turn in _START_TURNS:
        simplex = np.array([turn, 0.0, 0.0]) + np.vstack([np.zeros(3), np.diag(_START_STEPS)])
        options = {"initial_simplex": simplex, "xatol": 2e-3, "fatol": 1e-4}
        found.append(optimize.minimize(disagreement, simplex[0], method="Nelder-Mead", options=options))
    affine = _reflection(min(found, key=lambda result: float(result.fun)).x, centre)
    mirrored = _mirrored(parts, affine, coarse)
    both = (parts.as_tensor()[-1] > 0.5) & (mirrored[-1] > 0.5)
    own, other = (_standardised(_ratio(part)[:, both]) for part in (parts.as_tensor(), mirrored))
    return Mirror(affine, float((own * other).mean()))


def asymmetry(prepared: Prepared) -> MetaTensor:
    """(C, I, J, K) how far each voxel is from everything within `TOLERANCE_MM` of its mirrored place.

    In robust standard deviations of the difference between the halves, channel by channel; 0 where the mirrored place
    lies outside the foreground.

    Raises:
        InputError: ``not_symmetric``.
    """
    mirror = find_mirror(prepared)
    if mirror.correlation < LEAST_CORRELATION:
        raise InputError(
            f"the scan correlates by {mirror.correlation:.2f} with its mirror image, expected {LEAST_CORRELATION} or "
            "more to compare its sides; leave the anomaly map out",
            code="not_symmetric",
        )
    beyond = [torch.maximum(*sides) for sides in beyond_mirror(prepared, mirror, SMOOTH_MM)]
    return MetaTensor(torch.cat(beyond), affine=prepared.network_image.affine)


def beyond_mirror(prepared: Prepared, mirror: Mirror, smooth_mm: float) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each channel, (1, I, J, K) how far voxels are above, and below, everything near their mirrored places.

    In robust standard deviations of the difference between the halves; 0 where the mirrored place lies outside the
    foreground.

    Args:
        smooth_mm: standard deviation of the smoothing of what is compared.
    """
    grid = Geometry.of(prepared.network_image)
    smooth = _smooth(prepared, smooth_mm)
    mirrored = _mirrored(MetaTensor(smooth, affine=torch.tensor(grid.affine)), mirror.affine, grid)
    is_known = mirrored[-1:] > 0.5
    inside = prepared.foreground.as_tensor() > 0
    for own, other in zip(_ratio(smooth)[:, None], _ratio(mirrored)[:, None], strict=True):
        low, high = _range(other, is_known, grid.spacing_in_person_mm)
        _, spread = median_and_spread((own - other)[inside & is_known].numpy())
        above, below = (
            torch.where(inside & torch.isfinite(beyond), beyond.clamp_min(0), 0.0) / max(spread, 1e-6)
            for beyond in (own - high, low - own)
        )
        yield above, below


def smoothed_inside(prepared: Prepared, sigma_mm: float) -> torch.Tensor:
    """(C, I, J, K) channels, smoothed without what lies outside the foreground."""
    return _ratio(_smooth(prepared, sigma_mm))


def _mirrored(parts: MetaTensor, affine: FloatArray, grid: Geometry) -> torch.Tensor:
    """(C, I, J, K) on `grid`, mirrored by `affine`; 0 where the mirrored place lies outside."""
    own = Geometry.of(parts)
    # One voxel of nothing around the scan, which `resample` continues.
    around = own.crop((-1, -1, -1), [n + 2 for n in own.shape])
    padded = functional.pad(parts.as_tensor(), (1,) * 6)
    return resample(MetaTensor(padded, affine=torch.tensor(affine @ around.affine)), grid).as_tensor()


def _reflection(plane: FloatArray, centre_mm: FloatArray) -> FloatArray:
    """(4, 4) reflection about a plane given by two angles of its normal (0: to the right) and its offset in 100 mm."""
    turn, tilt, offset = plane
    normal = np.array([np.cos(turn) * np.cos(tilt), np.sin(turn) * np.cos(tilt), np.sin(tilt)])
    reflection = np.eye(4)
    reflection[:3, :3] -= 2 * np.outer(normal, normal)
    reflection[:3, 3] = 2 * normal * (normal @ centre_mm + 100.0 * offset)
    return reflection


def _smooth(prepared: Prepared, sigma_mm: float) -> torch.Tensor:
    """(C + 1, I, J, K): the smoothed channels inside the foreground and the smoothed foreground."""
    grid = Geometry.of(prepared.network_image)
    inside = prepared.foreground.as_tensor().float()
    parts = torch.cat([prepared.network_image.as_tensor() * inside, inside])
    sigma = [sigma_mm / spacing for spacing in grid.spacing_in_person_mm]
    return resample(MetaTensor(parts, affine=prepared.network_image.affine), grid, sigma=sigma).as_tensor()


def _ratio(parts: torch.Tensor) -> torch.Tensor:
    """(C + 1, I, J, K) sums and weights -> (C, I, J, K) means."""
    return parts[:-1] / parts[-1:].clamp_min(1e-3)


def _range(
    values: torch.Tensor, is_known: torch.Tensor, spacing_mm: tuple[float, float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and largest of the known (1, I, J, K) values within `TOLERANCE_MM` along each axis; infinite for none."""
    reach = [round(TOLERANCE_MM / spacing) for spacing in spacing_mm]
    size = [2 * n + 1 for n in reach]
    high, negative_low = (
        functional.max_pool3d(torch.where(is_known, sign * values, -torch.inf)[None], size, 1, reach)[0]
        for sign in (1, -1)
    )
    return -negative_low, high


def _standardised(channels: torch.Tensor) -> torch.Tensor:
    """(C, I, J, K) with mean 0 and standard deviation 1 in each channel."""
    flat = channels.flatten(1)
    return (flat - flat.mean(dim=1, keepdim=True)) / flat.std(dim=1, keepdim=True).clamp_min(1e-6)
