"""Where the body is: the foreground that training and labels are restricted to.

Found once per scan on a coarse copy (about 3 mm), because its border needs no more than that; a background
that was masked out (skull-stripped brains) is exact and kept voxel by voxel. Of Hounsfield units the body is
everything but outside air, padding, table and clothes (`body_ct.py`); of other scans it is what is bright.
"""

from __future__ import annotations

from typing import Literal

import fill_voids
import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.errors import InputError
from medseg.preprocessing.body_ct import body_of_ct
from medseg.preprocessing.fingerprint import is_hounsfield
from medseg.preprocessing.histogram import Histogram, median_and_spread, start_means
from medseg.preprocessing.prepare import channels_of
from medseg.spatial.geometry import Geometry, person_unit_mm
from medseg.spatial.resample import resample

BoolArray = npt.NDArray[np.bool_]
_COARSE_MM = 3.0
_MASKED_SHARE = 0.2
"""Share of voxels that must hold exactly the border value before the background counts as masked out."""
_EVEN_BORDER_SHARE = 0.9
"""Least share of the voxels on a scan's faces that hold one value which is a background though not the least one."""
_ONLY_BODY_SHARE = 0.98
"""Share of a CT's voxels of other numbers that are body when one number fills what was masked out around it."""


def find_foreground(image: MetaTensor) -> MetaTensor:
    """Mask (1, I, J, K) of 0 and 1: the body, with the air inside it, without the air around it.

    Hounsfield units: everything but outside air, padding, table and clothes, lung that a crop cuts included.
    Other scans: a background that was masked out to one constant is taken as it is. Otherwise Otsu's threshold (Otsu,
    IEEE Trans. SMC 9:62, 1979) on a smoothed coarse copy, closed, the largest components, holes filled plane by plane.

    Raises:
        InputError: ``constant``.
    """
    low, high = float(image.as_tensor().min()), float(image.as_tensor().max())
    if low == high:
        raise InputError(f"every intensity is {low:g}, expected an image; check the scan", code="constant")
    if is_hounsfield(image):
        return _found_in_ct(image)
    masked = _masked_background(image)
    if masked is not None:
        return masked
    grid, unit = _coarse_grid(Geometry.of(image))
    coarse = resample(image, grid)
    i, j, k = grid.spacing_mm
    body = _body(coarse.as_tensor()[0].cpu().numpy(), (i / unit, j / unit, k / unit))
    return _onto(image, body, coarse)


def _found_in_ct(image: MetaTensor) -> MetaTensor:
    """The foreground of Hounsfield units; voxel by voxel where all around it was masked out."""
    geometry, unit = _coarse_grid(Geometry.of(image))
    sampled = resample(image, geometry, "nearest")
    order = np.argsort([axis != geometry.ras_axes.index(2) for axis in range(3)], kind="stable")
    spacing = np.asarray(geometry.spacing_mm)[order] / unit
    hu = np.ascontiguousarray(sampled.as_tensor()[0].cpu().numpy().transpose(order))
    body, filled = body_of_ct(hu, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    if filled.mean() > _MASKED_SHARE and body.sum() > _ONLY_BODY_SHARE * (~filled).sum():
        masked = _masked_background(image)
        if masked is not None:
            return masked
    return _onto(image, body.transpose(np.argsort(order)), sampled)


def _onto(image: MetaTensor, body: BoolArray, coarse: MetaTensor) -> MetaTensor:
    """(1, I, J, K) of 0 and 1 on the grid of `image`, from an (I', J', K') mask on the grid of `coarse`."""
    mask = MetaTensor(torch.from_numpy(body[None].astype(np.float32)), affine=coarse.affine)
    native = resample(mask, Geometry.of(image)).as_tensor()
    return MetaTensor(torch.ge(native, 0.5, out=native), affine=image.affine)  # in place: it may be a gigabyte


def _masked_background(image: MetaTensor) -> MetaTensor | None:
    """The voxels that differ from a masked-out background, or None when there is no such background."""
    voxels = image.as_tensor()[0]
    faces = [voxels[0], voxels[-1], voxels[:, 0], voxels[:, -1], voxels[:, :, 0], voxels[:, :, -1]]
    around = torch.cat([face.flatten() for face in faces])
    value = around.median()
    # Above the least value, as the 0 around a brain of mean 0, it must fill the border: noise is not even.
    if float(value) > float(voxels.min()) and float((around == value).float().mean()) < _EVEN_BORDER_SHARE:
        return None
    inside = (voxels != value).cpu().numpy()
    if 1.0 - inside.mean() < _MASKED_SHARE:
        return None
    # What is returned runs along i first; mixed with arrays along k every operation on both is many times slower.
    inside = np.ascontiguousarray(fill_voids.fill(np.ascontiguousarray(inside)))
    shell = inside & ~_eroded(inside)
    contrast = np.abs(voxels.cpu().numpy() - float(value))
    # Padding around a scan with air in it has a dark rim; a skull-stripped brain ends in tissue.
    if np.median(contrast[shell]) < 0.15 * np.percentile(contrast[inside], 90):
        return None
    return MetaTensor(torch.from_numpy(inside[None].astype(np.float32)), affine=image.affine)


def _eroded(mask: BoolArray) -> BoolArray:
    """The voxels whose six neighbours are all inside."""
    inner = mask.copy()
    for axis in range(3):
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(1, None), slice(None, -1)
        inner[tuple(first)] &= mask[tuple(last)]
        inner[tuple(last)] &= mask[tuple(first)]
    return inner


def _coarse_grid(geometry: Geometry) -> tuple[Geometry, float]:
    """The same field of view in voxels of about 3 mm, never finer than the scan, and `person_unit_mm`."""
    spacing = np.asarray(geometry.spacing_mm)
    unit = person_unit_mm(geometry.shape, geometry.spacing_mm)
    factors = np.maximum(_COARSE_MM * unit / spacing, 1.0)
    shape = np.maximum(np.floor((np.asarray(geometry.shape) - 1) / factors).astype(int) + 1, 2)
    factors = (np.asarray(geometry.shape) - 1) / (shape - 1)
    affine = geometry.affine.copy()
    affine[:3, :3] = affine[:3, :3] * factors
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine), unit


def _body(voxels: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> BoolArray:
    """Bright components of at least a fifth of the largest, closed with a ball of 9 mm, with the air inside them."""
    low, high = np.percentile(voxels, (0.5, 99.5))
    smooth = ndimage.gaussian_filter(np.clip(voxels, low, high), [2.0 / s for s in spacing_mm])
    bright = smooth > _body_threshold(smooth)
    closed = _close(bright, spacing_mm, radius_mm=9.0)
    components, n_components = ndimage.label(closed, np.ones((3, 3, 3)))  # a thin scalp holds by its corners
    if n_components == 0:
        return np.ones(voxels.shape, dtype=bool)
    sizes = np.bincount(components.ravel())[1:]
    body = np.isin(components, 1 + np.flatnonzero(sizes >= 0.2 * sizes.max()))
    body = _filled(_close(_filled(body), spacing_mm, radius_mm=9.0))
    return body if _has_background(voxels, body) else np.ones(voxels.shape, dtype=bool)


def _filled(body: BoolArray) -> BoolArray:
    """Holes filled plane by plane along each axis, twice: what one axis fills closes holes for the others."""
    for axis in (0, 1, 2, 0, 1, 2):
        for plane in np.moveaxis(body, axis, 0):
            plane[:] = ndimage.binary_fill_holes(plane)
    return body


def _has_background(voxels: npt.NDArray[np.float32], body: BoolArray) -> bool:
    """Whether what lies outside `body` is as even as air; a crop inside the body has no background."""
    outside = voxels[~body]
    if not outside.size:
        return False
    centre, spread = median_and_spread(outside)
    return spread < 0.15 * (float(np.median(voxels[body])) - centre)


def _body_threshold(smooth: npt.NDArray[np.float32]) -> float:
    """Otsu's threshold, lowered to the dark side's upper end so that dim tissue stays inside."""
    # Otsu's threshold lies half way between the centres of the best two-means clustering.
    otsu = float(start_means(Histogram.of(smooth.ravel()), 2).mean())
    dark = smooth[smooth <= otsu]
    centre, spread = median_and_spread(dark)
    return min(otsu, max(centre + 4.0 * spread, centre + 0.25 * (otsu - centre)))


def _close(mask: BoolArray, spacing_mm: tuple[float, float, float], radius_mm: float) -> BoolArray:
    """Closing with a ball of `radius_mm`, by two distance transforms."""
    pad = [int(np.ceil(radius_mm / s)) + 1 for s in spacing_mm]
    padded = np.pad(mask, [(p, p) for p in pad])
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    shrunk = ndimage.distance_transform_edt(grown, sampling=spacing_mm) > radius_mm
    inner = tuple(slice(p, -p) for p in pad)
    return np.asarray((shrunk | padded)[inner], dtype=bool)


def foreground_of(
    image: MetaTensor, mask: MetaTensor | None, rule: Literal["auto", "nonzero", "all"] = "auto"
) -> MetaTensor:
    """(1, I, J, K) of 0 and 1 on the grid of `image`: the given mask, else the foreground found by `rule`.

    Of several channels the first one says where the foreground is.

    Raises:
        InputError: ``no_foreground`` when nothing is inside.
    """
    if mask is not None:
        return mask
    image = channels_of(image)[0]
    voxels = image.as_tensor()
    if rule == "auto":
        found = find_foreground(image)
    else:
        found = MetaTensor(
            ((voxels != 0) if rule == "nonzero" else torch.ones_like(voxels)).float(), affine=image.affine
        )
    if not bool(found.as_tensor().any()):
        raise InputError("found no foreground in the scan; give a mask with --masks", code="no_foreground")
    return found
