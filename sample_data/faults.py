"""A cohort of phantoms that differ as people and scanners do, and what goes wrong with scans in practice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom

Fault = Callable[[MetaTensor, int], MetaTensor]
"""(sound (1, I, J, K) scan, seed) -> the same scan with the fault."""


def person(seed: int, spacing_mm: float = 4.0) -> MetaTensor:
    """A phantom of its own size (5 % a direction), scale of intensity, noise, shading and place."""
    randomness = np.random.default_rng([seed, 1])
    shape = (int(156 / spacing_mm), int(172 / spacing_mm), int(148 / spacing_mm))
    size = np.exp(0.05 * randomness.standard_normal(3))
    body = np.diag([*(spacing_mm / size), 1.0])
    body[:3, 3] = -body[:3, :3] @ ((np.asarray(shape) - 1) / 2) + randomness.uniform(-3, 3, 3)
    image, _ = phantom(Geometry(shape, body), noise=float(randomness.uniform(5, 12)), seed=seed)
    voxels = image.as_tensor()[0].numpy()
    field = ndimage.gaussian_filter(randomness.standard_normal(shape), 40 / spacing_mm)
    voxels = voxels * (1 + 0.1 * field / np.abs(field).max()) * float(np.exp(randomness.normal(0, 0.5)))
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (np.asarray(shape) - 1) / 2
    return _with(voxels, affine)


def another_body_part(seed: int, spacing_mm: float = 4.0) -> MetaTensor:
    """What is no such phantom: two bright tubes and a spine in a dark cylinder."""
    randomness = np.random.default_rng([seed, 2])
    shape = (int(120 / spacing_mm), int(100 / spacing_mm), int(180 / spacing_mm))
    x, y, z = (spacing_mm * (np.arange(n) - (n - 1) / 2) for n in shape)
    r, f, u = np.meshgrid(x, y, z, indexing="ij")
    voxels = np.zeros(shape)
    for centre, front, radius, value in ((0, 0, 45, 90.0), (-20, 5, 12, 200.0), (20, 5, 12, 200.0), (0, -30, 8, 40.0)):
        voxels[np.hypot(r - centre, f - front) < radius] = value
    voxels *= np.abs(u) < 80
    noisy = np.maximum(voxels + 8 * randomness.standard_normal(shape), 1)
    return _with(np.where(voxels > 0, noisy, 0), np.diag([spacing_mm] * 3 + [1.0]))


def half_missing(image: MetaTensor, seed: int) -> MetaTensor:
    """One half, along one of the axes, was never received: zeros."""
    voxels = image.as_tensor()[0].numpy().copy()
    middle = int(ndimage.center_of_mass(voxels != voxels[0, 0, 0])[seed % 3])
    place = [slice(None)] * 3
    place[seed % 3] = slice(middle, None) if seed % 2 else slice(None, middle)
    voxels[tuple(place)] = 0
    return _with(voxels, image.affine.numpy())


def inverted(image: MetaTensor, _seed: int) -> MetaTensor:
    """Bright is dark: the contrast of another sequence, or of a wrong photometric interpretation."""
    voxels = image.as_tensor()[0].numpy()
    inside = voxels != voxels[0, 0, 0]
    top = np.percentile(voxels[inside], 99.9)
    return _with(np.where(inside, np.maximum(1.02 * top - voxels, 0.01 * top), 0), image.affine.numpy())


def ghosting(image: MetaTensor, seed: int, n_positions: int = 24, shift_mm: float = 12.0) -> MetaTensor:
    """Heavy motion: parts of k-space acquired at other positions, along one axis; the mask stays.

    Shaw et al., "MRI k-space motion artefact augmentation", MIDL 2019, with shifts only.
    """
    randomness = np.random.default_rng([seed, 3])
    voxels = image.as_tensor()[0].numpy()
    axis = 1
    lines = voxels.shape[axis]
    spectrum = np.fft.fft(voxels, axis=axis)
    shifts = randomness.uniform(-shift_mm, shift_mm, n_positions) / Geometry.of(image).spacing_mm[axis]
    position = np.repeat(shifts, -(-lines // n_positions))[:lines]
    phase = np.exp(-2j * np.pi * np.fft.fftfreq(lines) * position)
    moved = np.abs(np.fft.ifft(spectrum * phase.reshape(1, -1, 1), axis=axis))
    return _with(np.where(voxels != voxels[0, 0, 0], moved, voxels), image.affine.numpy())


def wrong_spacing(image: MetaTensor, seed: int) -> MetaTensor:
    """The header says 1.5 times, or 1 / 1.5 of, the true distance along one axis."""
    affine = image.affine.numpy().copy()
    affine[:3, seed % 3] *= 1.5 if seed % 2 else 1 / 1.5
    return _with(image.as_tensor()[0].numpy(), affine)


FAULTS: dict[str, Fault] = {
    "half missing": half_missing,
    "inverted contrast": inverted,
    "ghosting": ghosting,
    "wrong spacing": wrong_spacing,
}


def _with(voxels: np.ndarray, affine: np.ndarray) -> MetaTensor:
    return MetaTensor(
        torch.from_numpy(np.ascontiguousarray(voxels[None], dtype=np.float32)), affine=torch.as_tensor(affine)
    )
