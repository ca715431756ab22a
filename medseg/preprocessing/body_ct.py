"""The body in a CT: everything that is not outside air, padding, table or clothes, on a coarse grid.

The scan is looked at plane by plane, axially. There air around the body reaches the rim of the field of view and lung
does not, unless the scan is cropped; lung at the rim is then told from air by its Hounsfield units, and gas that a crop
cuts by its outline. Table and clothes are thin, or lie apart from the body. Arrays are (K, I, J) in this file: K axial
planes, the other two axes lie in the plane.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.preprocessing.morphology import Spacing, ball_of, dilated, eroded, grown, opened
from medseg.preprocessing.padding_ct import padding_of

BoolArray = npt.NDArray[np.bool_]
HuArray = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
PartArray = npt.NDArray[np.int32]

_SKIN_HU = -500.0
"""Half way between air (-1000 HU) and water (0 HU): what is denser is called solid, what is less dense dark."""
_AIR_HU = -940.0
"""Darker is air: lung has a median of -900 to -740 HU, foam of a table of -940 to -920 HU, air of -1000 HU."""
_AIR_PART = 0.25
"""Share of a dark part that must be air before the part is called air. Narrow gaps and gaps with foam or clothes in
them have more, lung has less than a twentieth, or up to this in severe emphysema (LAA-950)."""
_RIM_SHARE = 0.4
"""Share of the outline of air, table and clothes left out, that must be the rim before the air is called outside. One
convex body leaves more than half; one crop plane through the middle of a round gas bubble gives 2 / (2 + pi) = 0.39."""
_RIM_MM = 150.0
"""Length of rim from which on a part that is mostly air is outside whatever its outline, as beside arms and legs. It
is longer than a crop plane through gas in stomach or bowel."""
_NOISE_MM = 2.0
"""Standard deviation of the smoothing before the thresholds: noise of 100 HU falls below 30, a wall of 6 mm holds."""
_LEAST_PART = 0.03
"""Solid parts below this share of the largest are rails, cushions and head rests; an arm is about 0.06 of a trunk."""
_LEAST_CORE = 0.05
"""Where the solid parts are less than this share of all that is not outside, it is lung by itself."""
_BODY_SHARE = 2 / 3
"""A dark part lies in the body where more than this share of its surface does not border on air, table or clothes."""
_LUNG_SHARE = 1 / 4
"""The same of a part that is no air: the chest wall of a child is as thin as a table."""
_IN_PLANE = np.stack([np.zeros((3, 3), bool), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3), bool)])
"""The four neighbours in the axial plane."""


def body_of_ct(sampled: HuArray, spacing_mm: Spacing) -> tuple[BoolArray, BoolArray]:
    """Find body and padding in (K, I, J) Hounsfield units taken at distances of about 3 mm, not interpolated.

    Returns:
        (K, I, J) body and (K, I, J) voxels filled with one number. Without outside air all but the padding is body: a
        crop inside the abdomen or inside a lung.
    """
    padding, filled = padding_of(sampled)
    smooth = _smoothed(sampled, padding | filled, spacing_mm)
    solid = (smooth > _SKIN_HU) & ~padding & ~filled
    dark = ~solid & ~padding
    airy = ((smooth < _AIR_HU) & dark) | filled
    core = _core(solid, spacing_mm)
    lung = _lung_beside(filled, dark, airy, spacing_mm)
    air = _outside_air(dark & ~lung, airy, core, padding, spacing_mm)
    everything = ~padding & ~air
    if not air.any() or core.sum() < _LEAST_CORE * everything.sum():
        return everything, padding | filled
    sheets = grown(air, solid & ~core, spacing_mm, times=3)
    lung = _enclosed(dark & ~air, airy, core, sheets | air, spacing_mm)
    body = lung | (solid & ~sheets) | (opened(solid | lung, spacing_mm, times=1) & solid)
    parts, n_parts = ndimage.label(body)
    return _chosen(parts, np.bincount(parts[core], minlength=n_parts + 1) > 0), padding | filled


def _smoothed(hu: HuArray, filled: BoolArray, spacing_mm: Spacing) -> HuArray:
    """Gaussian mean over what is not filled."""
    sigma = [_NOISE_MM / s for s in spacing_mm]
    known = (~filled).astype(np.float32)
    total = ndimage.gaussian_filter(np.clip(hu, -1024, 1000) * known, sigma, mode="nearest")
    if filled.any():
        total /= np.maximum(ndimage.gaussian_filter(known, sigma, mode="nearest"), 1e-3)
    return np.asarray(total, dtype=np.float32)


def _core(solid: BoolArray, spacing_mm: Spacing) -> BoolArray:
    """Solid parts that hold a ball, in pieces that hold one of twice its radius: not table, clothes, lung vessels."""
    ball = ball_of(spacing_mm)
    holding = eroded(solid, ball)
    parts, n_parts = ndimage.label(dilated(holding, ball) & solid)
    thick = np.bincount(parts[eroded(holding, ball)], minlength=n_parts + 1) > 0
    sizes = np.bincount(parts.ravel(), minlength=n_parts + 1) * thick
    sizes[0] = 0
    core = _chosen(parts, thick & (sizes >= _LEAST_PART * sizes.max()))
    return core | grown(core, solid, spacing_mm, times=1)


def _lung_beside(filled: BoolArray, dark: BoolArray, airy: BoolArray, spacing_mm: Spacing) -> BoolArray:
    """Dark parts beside filled places that are no air themselves, and too thick for the air under clothes."""
    if not filled.any():
        return filled
    parts, n_parts = ndimage.label(opened(dark & ~filled, spacing_mm, times=2))
    sizes = np.bincount(parts.ravel(), minlength=n_parts + 1)
    return _chosen(parts, np.bincount(parts[airy], minlength=n_parts + 1) <= _AIR_PART * sizes)


def _outside_air(
    dark: BoolArray, airy: BoolArray, core: BoolArray, padding: BoolArray, spacing_mm: Spacing
) -> BoolArray:
    """Dark parts of a plane that are air and open to the rim; nostrils and folds narrower than a ball are closed."""
    disc = ball_of(spacing_mm, flat=True)
    closed = eroded(dilated(core, disc), disc)
    parts, n_parts = ndimage.label(dark & ~closed, _IN_PLANE)
    sizes = np.bincount(parts.ravel(), minlength=n_parts + 1)
    shares = np.bincount(parts[airy], minlength=n_parts + 1) / np.maximum(sizes, 1)
    rim = _rim(parts, n_parts, spacing_mm) + _contact(parts, n_parts, padding, spacing_mm, axes=(1, 2))
    wall = _contact(parts, n_parts, core | closed, spacing_mm, axes=(1, 2))
    is_open = (shares > _AIR_PART) & (rim > _RIM_SHARE * (rim + wall))
    is_long = (shares > 0.5) & (rim > _RIM_MM * spacing_mm[0])
    air = _chosen(parts, is_open | is_long)
    # Between arm and trunk, or between the legs, a plane may show air enclosed that is wide open above or below; a
    # windpipe is not wide.
    reached = ndimage.binary_propagation(air, mask=air | (opened(airy, spacing_mm, times=2) & dark))
    air |= _chosen(parts, np.bincount(parts[reached], minlength=n_parts + 1) > 0.5 * sizes)
    return air | grown(air, dark, spacing_mm, times=2)


def _enclosed(dark: BoolArray, airy: BoolArray, core: BoolArray, outside: BoolArray, spacing_mm: Spacing) -> BoolArray:
    """Dark parts that border on the body: lung and gas, not the foam of a table or the air under clothes."""
    parts, n_parts = ndimage.label(dark)
    inward, outward = (_contact(parts, n_parts, other, spacing_mm) for other in (core, outside))
    shares = np.bincount(parts[airy], minlength=n_parts + 1) / np.maximum(np.bincount(parts.ravel()), 1)
    least = np.where(shares > _AIR_PART, _BODY_SHARE, _LUNG_SHARE)
    return _chosen(parts, outward <= (1 - least) * (inward + outward))


def _chosen(parts: PartArray, wanted: BoolArray) -> BoolArray:
    """Voxels of the numbered parts that are wanted; number 0 is no part."""
    wanted[0] = False
    return np.asarray(wanted[parts])


def _contact(
    parts: PartArray, n_parts: int, other: BoolArray, spacing_mm: Spacing, axes: Sequence[int] = (0, 1, 2)
) -> FloatArray:
    """(n_parts + 1,) mm2 of voxel faces, across `axes`, between each numbered part and `other`."""
    total, numbered = np.zeros(n_parts + 1), parts > 0
    for axis in axes:
        numbers, here, there = (np.moveaxis(a, axis, 0) for a in (parts, numbered, other))
        faces = np.bincount(numbers[1:][here[1:] & there[:-1]], minlength=n_parts + 1)
        faces += np.bincount(numbers[:-1][here[:-1] & there[1:]], minlength=n_parts + 1)
        total += faces * (np.prod(spacing_mm) / spacing_mm[axis])
    return total


def _rim(parts: PartArray, n_parts: int, spacing_mm: Spacing) -> FloatArray:
    """(n_parts + 1,) mm2 of each numbered part on the sides of the field of view; its first and last plane are none."""
    total = np.zeros(n_parts + 1)
    for axis in (1, 2):
        sides = parts.take((0, -1), axis).ravel()
        total += np.bincount(sides, minlength=n_parts + 1) * (np.prod(spacing_mm) / spacing_mm[axis])
    return total
