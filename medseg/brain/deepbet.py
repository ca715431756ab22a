"""Brain masks by the two networks that the package deepbet carries; nothing else of the package is imported.

Fisch et al., "deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural networks", Computers in
Biology and Medicine 179:108845, 2024: one network finds the brain in the whole field of view, the other draws it in a
box around. Both are TorchScript, which PyTorch reads by its own reader of tensors and instructions: no pickle of Python
is loaded, and none of the package's code runs, its windows (customtkinter) included.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import fill_voids
import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.brain.tools import DEEPBET
from medseg.errors import InputError
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

BoolArray = npt.NDArray[np.bool_]
FINDER, DRAWER = "bbox_model.pt", "model.pt"
_FINDER_SIDE, _DRAWER_SIDE = 128, 256
"""Samples along each axis that the networks were trained on."""
_MARGIN = 0.1
"""Of the brain's extent, on either side of it, that the second network sees."""
_MEAN, _SD = 0.449, 0.226
"""Of the intensities that the networks were trained on."""


def deepbet_mask(image: MetaTensor, device: torch.device) -> MetaTensor:
    """(1, I, J, K) of 0 and 1: the brain in a T1 of a head.

    Raises:
        InputError: ``no_brain``.
    """
    finder, drawer = (_network(_weights(name), str(device)) for name in (FINDER, DRAWER))
    geometry = Geometry.of(image).in_ras_order()
    whole = _grid(geometry, np.zeros(3), np.asarray(geometry.shape, dtype=np.float64), _FINDER_SIDE)
    sampled = resample(image, whole, "nearest")
    low, high = (float(x) for x in np.percentile(sampled.as_tensor().cpu().numpy(), (0.5, 99.5)))
    if not high > low:
        raise _no_brain()
    seen = _probability(finder, sampled, (low, high), device).as_tensor()[0].numpy() > 0.5
    if not seen.any():
        raise _no_brain()
    start, stop = _box(_largest(seen), np.asarray(geometry.shape) / _FINDER_SIDE, geometry.shape)
    box = _grid(geometry, start, stop - start, _DRAWER_SIDE)
    drawn = _probability(drawer, resample(image, box, "nearest"), (low, high), device)
    return _onto(image, drawn, geometry, start, stop)


@lru_cache(maxsize=4)
def _network(path: Path, device: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch prefers a successor of TorchScript
        return torch.jit.load(str(path), map_location=device).eval()


def _weights(name: str) -> Path:
    package = distribution(DEEPBET)
    found = next(file for file in package.files or () if file.parts[-2:] == ("models", name))
    return Path(str(package.locate_file(found)))


def _grid(geometry: Geometry, start: npt.NDArray[np.float64], extent: npt.NDArray[np.float64], side: int) -> Geometry:
    """`side` samples along each axis of a part of a grid: from the voxel edge `start` on, `extent` voxels long."""
    place = np.diag([*(extent / side), 1.0])
    place[:3, 3] = start + extent / side / 2 - 0.5
    return Geometry((side, side, side), geometry.affine @ place)


def _probability(network: Any, sampled: MetaTensor, window: tuple[float, float], device: torch.device) -> MetaTensor:
    """(1, I, J, K) probability of brain for samples of the intensities."""
    low, high = window
    voxels = ((sampled.as_tensor() - low) / max(high - low, 1e-12)).clamp(0, 1)
    voxels = _MEAN + _SD * (voxels - voxels.mean()) / voxels.std().clamp_min(1e-12)
    with torch.no_grad():
        found = network(voxels[None].to(device))[0, 1:2]
    return MetaTensor(found.float().cpu(), affine=sampled.affine)


def _largest(mask: BoolArray) -> BoolArray:
    """The largest component."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def _box(
    brain: BoolArray, voxels: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First and last edge, in voxels of the scan, of the brain with its margin; `voxels` are those of one sample."""
    (found,) = ndimage.find_objects(brain.astype(np.uint8))
    first = np.array([part.start for part in found]) * voxels
    last = np.array([part.stop for part in found]) * voxels
    margin = _MARGIN * (last - first)
    return np.maximum(np.floor(first - margin), 0), np.minimum(np.ceil(last + margin), shape)


def _onto(
    image: MetaTensor,
    drawn: MetaTensor,
    geometry: Geometry,
    start: npt.NDArray[np.float64],
    stop: npt.NDArray[np.float64],
) -> MetaTensor:
    """Where the probability is above a half, in one piece without holes, on the grid of the image."""
    inner = geometry.crop(start.astype(int).tolist(), (stop - start).astype(int).tolist())
    brain = resample(drawn, inner).as_tensor()[0].numpy() > 0.5
    if not brain.any():
        raise _no_brain()
    filled = np.asarray(fill_voids.fill(np.ascontiguousarray(_largest(brain))))
    whole = np.zeros(geometry.shape, dtype=np.float32)
    whole[tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))] = filled
    mask = MetaTensor(torch.from_numpy(whole[None]), affine=torch.from_numpy(geometry.affine.copy()))
    return resample(mask, Geometry.of(image), "nearest")


def _no_brain() -> InputError:
    return InputError("deepbet found no brain in the scan, expected a T1 of a head; draw a mask and give it with "
                      "--masks, or leave the scan out", code="no_brain")  # fmt: skip
