"""A whole head where a brain alone is expected: noticed by its size, or by the fat, the skull and the brain below.

Below the surface of a head lie bright fat and skin, then the skull, which is dark in MR of any contrast, then the
brain. A brain alone has no such layers: sulci are dark, too, but each lies elsewhere. So the foreground is divided into
sectors around its middle, each sector's median intensity is followed inwards by depth, and it is counted in how many
there is a valley between two heights. Nothing depends on the background, on the unit of the intensities or on whether
the air was set to zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.errors import InputError
from medseg.spatial.geometry import Geometry, person_unit_mm

MOST_BRAIN_ML = 2500.0
"""No human brain with the fluid around it is larger: the skull of adults has room for 1.5 l, and for 2.1 l at most."""
MOST_VALLEYS = 0.25
"""Share of sectors with a skull. Measured: whole heads .29 to .96, brains up to .06, halves of brains up to .10."""
N_SECTORS = 64
LAYER_MM = 2.0
N_LAYERS = 20
"""Depths that are looked at, from the surface."""
VALLEY = 0.15
"""Depth of a valley as a share of the range of intensities (percentiles 1 to 99)."""
_WALL, _SKULL, _BELOW = 5, 11, 7
"""Layers above the valley, in which the valley may lie, and below it, that are searched."""
_LEAST = 8
"""Voxels that make a median."""
_FEWEST = 6
"""Layers of a sector, and sectors, of which fewer say nothing, as of the brain of a mouse."""


class HeadSigns(NamedTuple):
    """What tells a whole head.

    Attributes:
        volume_ml: of the foreground.
        skull_share: of the sectors that could be looked at, 0 to 1; 0 where nothing could.
    """

    volume_ml: float
    skull_share: float

    @property
    def is_head(self) -> bool:
        """Whether it is certain that this is no brain alone."""
        return self.volume_ml > MOST_BRAIN_ML or self.skull_share > MOST_VALLEYS


def check_skull_stripped(image: MetaTensor, foreground: MetaTensor) -> None:
    """Refuse a whole head.

    Args:
        image: (1, I, J, K), one channel.
        foreground: (1, I, J, K) of 0 and 1, found, not given.

    Raises:
        InputError: ``not_skull_stripped``.
    """
    signs = head_signs(image, foreground)
    if not signs.is_head:
        return
    found = f"{signs.volume_ml / 1000:.1f} l, more than any brain has"
    if signs.volume_ml <= MOST_BRAIN_ML:
        found = f"fat and a skull below the surface ({100 * signs.skull_share:.0f} % of it)"
    raise InputError(
        f"the scan looks like a whole head: found {found}, expected a brain alone; have the brain found with "
        "--brain-mask auto, or give brain masks with --masks",
        code="not_skull_stripped",
    )


def head_signs(image: MetaTensor, foreground: MetaTensor) -> HeadSigns:
    """Measure a (1, I, J, K) image inside its (1, I, J, K) foreground."""
    inside, geometry = foreground.as_tensor()[0].numpy() > 0, Geometry.of(foreground)
    volume_ml = float(np.count_nonzero(inside)) * geometry.voxel_volume_mm3 / 1000
    if volume_ml > MOST_BRAIN_ML or inside.all() or not inside.any():
        return HeadSigns(volume_ml, 0.0)
    profiles = _profiles(image, foreground, _box(inside))
    seen = np.isfinite(profiles).sum(axis=1) >= _FEWEST
    if seen.sum() < _FEWEST:
        return HeadSigns(volume_ml, 0.0)
    return HeadSigns(volume_ml, float(np.mean([_valley(profile) > VALLEY for profile in profiles[seen]])))


def _box(inside: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """The foreground with a voxel around it, as far as the field of view goes: beyond it nobody knows the surface."""
    found = ndimage.find_objects(inside.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)


def _profiles(image: MetaTensor, foreground: MetaTensor, box: tuple[slice, ...]) -> npt.NDArray[np.float64]:
    """(N_SECTORS, N_LAYERS) median intensity by direction from the middle and by depth; NaN of few voxels."""
    grid = Geometry.of(image)
    spacing_mm = np.asarray(grid.spacing_mm) / person_unit_mm(grid.shape, grid.spacing_mm)
    steps = np.maximum(np.rint(LAYER_MM / spacing_mm), 1).astype(int)
    every = tuple(slice(s.start, s.stop, step) for s, step in zip(box, steps, strict=True))
    inside, voxels = foreground.as_tensor()[0].numpy()[every] > 0, image.as_tensor()[0].numpy()[every]
    layers = (ndimage.distance_transform_edt(inside, sampling=spacing_mm * steps) / LAYER_MM).astype(int)
    places = (np.argwhere(inside) * (spacing_mm * steps)).astype(np.float32)
    low, high = np.percentile(voxels[inside], (1, 99))
    middle, near = np.median(places, axis=0), layers[inside] < N_LAYERS
    sectors = ((places[near] - middle) @ _directions().T).argmax(axis=1)
    medians = _medians(voxels[inside][near], sectors * N_LAYERS + layers[inside][near], N_SECTORS * N_LAYERS)
    shares = (medians - low) / max(float(high - low), 1e-12)
    return np.asarray(shares.reshape(N_SECTORS, N_LAYERS), dtype=np.float64)


def _directions() -> npt.NDArray[np.float32]:
    """(N_SECTORS, 3) unit vectors, evenly on the sphere: a Fibonacci lattice (Gonzalez, Math. Geosci. 42:49, 2010)."""
    n = np.arange(N_SECTORS) + 0.5
    polar, around = np.arccos(1 - 2 * n / N_SECTORS), np.pi * (1 + 5**0.5) * n
    directions = np.stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)], axis=1)
    return directions.astype(np.float32)


def _medians(values: npt.NDArray[np.floating], groups: npt.NDArray[np.intp], n_groups: int) -> npt.NDArray[np.float64]:
    """(n_groups,) medians of (V,) values in numbered groups; NaN for groups of fewer than `_LEAST`."""
    order = np.lexsort((values, groups))
    counts = np.bincount(groups, minlength=n_groups)
    middle = np.cumsum(counts) - counts + counts // 2
    found = values[order][np.minimum(middle, len(values) - 1)].astype(np.float64)
    return np.where(counts >= _LEAST, found, np.nan)


def _valley(profile: npt.NDArray[np.float64]) -> float:
    """How far a layer lies below what is above it and what is below it, at most."""
    known = np.where(np.isfinite(profile), profile, -np.inf)
    depths = [
        min(known[max(0, n - _WALL) : n].max(), known[n + 1 : n + 1 + _BELOW].max(initial=-np.inf)) - profile[n]
        for n in range(1, _SKULL)
        if np.isfinite(profile[n])
    ]
    return max(depths, default=0.0)
