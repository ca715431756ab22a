"""From a cohort's fingerprint to a plan, and from a scan to its working image.

The plan is made once from the training scans and written into the model folder; `Plan.prepare` is all that
a scan goes through before the network sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.croppad.array import SpatialCrop
from monai.transforms.intensity.array import ScaleIntensityRange
from monai.transforms.spatial.array import Orientation
from pydantic import BaseModel, ConfigDict

from medseg.config import ChannelsConfig, Config
from medseg.errors import InputError
from medseg.fingerprint import ScanFingerprint, percentiles_of
from medseg.foreground import find_foreground
from medseg.geometry import Geometry, resample

MARGIN_VOXELS = 4
"""Working voxels that are kept around the foreground, so that its border is seen from both sides."""


CONTINUED_VOXELS = 4
"""Working voxels by which results are continued beyond the foreground, for the native voxels at its border."""
SAME_SPACING = 0.2
"""Relative difference up to which a scan's own spacing passes for the working spacing."""


class Prepared(NamedTuple):
    """A scan on the working grid: (C, I, J, K) image, 0 and 1 at the ends of its range, and (1, I, J, K) foreground."""

    image: MetaTensor
    foreground: MetaTensor


class Plan(BaseModel):
    """Decisions made once from the training scans.

    Attributes:
        spacing_mm: working grid, along R, A, S.
        window_hu: intensity range of CT; None: `percentiles` of each scan.
        patch_size, batch_size: voxels along an axis, patches in a step.
        channels: size of the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Literal["CT", "MR"]
    spacing_mm: tuple[float, float, float]
    window_hu: tuple[float, float] | None
    percentiles: tuple[float, float]
    foreground: Literal["auto", "nonzero", "all"]
    patch_size: int
    batch_size: int
    channels: int
    range_of: Literal["mask", "scan"] = "mask"

    @classmethod
    def fit(cls, fingerprints: Sequence[ScanFingerprint], config: Config, memory_gb: float = 0.0) -> Plan:
        """Decide from the scans' fingerprints; what the config fixes is taken from it.

        Args:
            memory_gb: memory of the GPU; 0 on a CPU, where one patch a step keeps every core busy.
        """
        chosen = config.preprocessing
        modality = chosen.modality if chosen.modality != "auto" else _commonest_modality(fingerprints)
        spacing = chosen.spacing_mm or _planned_spacing(fingerprints, config)
        patch_size = config.training.patch_size or _planned_patch_size(fingerprints, spacing)
        return cls(
            modality=modality,
            spacing_mm=spacing,
            window_hu=chosen.window_hu if modality == "CT" else None,
            percentiles=chosen.percentiles,
            foreground=chosen.foreground,
            patch_size=patch_size,
            batch_size=config.training.batch_size or _planned_batch_size(patch_size, memory_gb),
            channels=config.autoencoder.channels or (24 if memory_gb >= 16 else 16),
            range_of=chosen.range_of,
        )

    def foreground_of(self, image: MetaTensor, mask: MetaTensor | None = None) -> MetaTensor:
        """(1, I, J, K) of 0 and 1 on the grid of `image`: the given mask, or the foreground found."""
        return foreground_of(image, mask, self.foreground)

    def intensity_range(self, image: MetaTensor, foreground: MetaTensor) -> tuple[float, float]:
        """The intensities of a (1, I, J, K) image, one channel of a scan, that become 0 and 1."""
        if self.window_hu is not None:
            return self.window_hu
        if self.range_of == "scan":
            foreground = foreground_of(image, None, self.foreground)
        inside = image.as_tensor().numpy()[foreground.as_tensor().numpy() > 0]
        low, high = percentiles_of(torch.from_numpy(inside), self.percentiles)
        if high > low >= 0:
            low = 0.0  # shading is a factor, so zero must stay zero
        if not high > low:
            raise InputError("the intensities inside the foreground are all the same; check the scan and its mask",
                             code="constant")  # fmt: skip
        return low, high

    def transforms(self, image: MetaTensor, foreground: MetaTensor, *, clip: bool = True) -> Compose:
        """MONAI transforms for one channel of this scan: crop to the foreground, RAS, working spacing, [0, 1].

        Args:
            clip: whether intensities beyond the range end at 0 and 1.
        """
        low, high = self.intensity_range(image, foreground)
        return Compose([*self._grid_transforms(foreground), ScaleIntensityRange(low, high, 0.0, 1.0, clip=clip)])

    def prepare(self, image: MetaTensor, foreground: MetaTensor, *, clip: bool = True) -> Prepared:
        """Bring a native (C, I, J, K) image and its (1, I, J, K) foreground to the working grid."""
        parts = [self.transforms(channel, foreground, clip=clip)(channel) for channel in channels_of(image)]
        working = (
            parts[0]
            if len(parts) == 1
            else MetaTensor(torch.cat([part.as_tensor() for part in parts]), affine=parts[0].affine)
        )
        inside = Compose(self._grid_transforms(foreground))(foreground)
        return Prepared(_plain(working), _plain(MetaTensor((inside.as_tensor() >= 0.5).float(), affine=inside.affine)))

    def _grid_transforms(self, foreground: MetaTensor) -> list[Callable[..., Any]]:
        start, end = _box(foreground, MARGIN_VOXELS * max(self.spacing_mm))
        crop = SpatialCrop(roi_start=start, roi_end=end)
        spacing = np.array(Geometry.of(foreground).in_ras_order().spacing_mm)
        # Near the working spacing the scan keeps its own grid: interpolation would smooth its noise unevenly,
        # and a network that sees patches does not mind a fifth more or less.
        if np.abs(np.log(np.array(self.spacing_mm) / spacing)).max() > np.log(1 + SAME_SPACING):
            return [crop, WorkingGrid(self.spacing_mm)]
        return [crop, Orientation(axcodes="RAS", labels=None)]


def channels_of(image: MetaTensor) -> list[MetaTensor]:
    """The C channels of a (C, I, J, K) image, each (1, I, J, K)."""
    if image.shape[0] == 1:
        return [image]
    return [MetaTensor(channel[None], affine=image.affine) for channel in image.as_tensor()]


def check_channels(image: MetaTensor, expected: ChannelsConfig) -> None:
    """Refuse a (C, I, J, K) image of another number of channels.

    Raises:
        InputError: ``other_channels``.
    """
    if image.shape[0] != expected.n_channels:
        names = f" ({', '.join(expected.names)})" if expected.names else ""
        raise InputError(
            f"the scan has {image.shape[0]} channels, expected {expected.n_channels}{names}; give the channels that "
            "the model was made for, or fit another (channels.names of the config)",
            code="other_channels",
        )


class WorkingGrid:
    """Array transform onto axes in RAS order with another spacing; the first voxel stays where it is.

    Where the new grid is coarser the image is smoothed first, so that detail it cannot hold does not become noise:
    the sampling kernels' variances add up, sigma^2 = (s_out^2 - s_in^2) / 12 per axis for box cells, which a linear
    interpolation of the finer grid needs as well.
    """

    def __init__(self, spacing_mm: Sequence[float]) -> None:
        self.spacing_mm = np.asarray(spacing_mm, dtype=np.float64)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(1, I, J, K) on any grid -> (1, I', J', K') float32."""
        geometry = Geometry.of(image)
        ras = geometry.in_ras_order()
        ratio = self.spacing_mm / ras.spacing_mm
        shape = np.round((np.asarray(ras.shape) - 1) / ratio + 1).astype(int)
        onto = Geometry((int(shape[0]), int(shape[1]), int(shape[2])), ras.affine @ np.diag([*ratio, 1.0]))
        found, wanted = np.asarray(geometry.spacing_mm), self.spacing_mm[list(geometry.ras_axes)]
        sigma = np.sqrt(np.maximum(wanted**2 - found**2, 0) / 12) / found
        return resample(image, onto, sigma=np.where(sigma > 0.2, sigma, 0.0).tolist())


def continued(image: MetaTensor, foreground: MetaTensor) -> MetaTensor:
    """(C, I, J, K) continued a few voxels beyond the foreground, so that its border does not mix with the outside."""
    voxels = image.as_tensor().cpu().clone()
    continue_beyond(voxels, foreground.as_tensor()[0])
    return MetaTensor(voxels, affine=image.affine)


def continue_beyond(voxels: torch.Tensor, inside: torch.Tensor) -> None:
    """Continue (C, I, J, K) voxels, in place, `CONTINUED_VOXELS` beyond the (I, J, K) foreground of 0 and 1.

    Layer by layer, each voxel is the mean of its 6 neighbours in the foreground and in the layers before; 0 beyond.
    """
    known = inside.cpu().numpy() > 0
    into = voxels.numpy().reshape(len(voxels), -1)
    outside = ~known.ravel()
    for channel in into:
        channel[outside] = 0
    strides = known.shape[1] * known.shape[2], known.shape[2], 1
    for _ in range(CONTINUED_VOXELS):
        layer = np.flatnonzero(_grown(known) & ~known)
        total, count = np.zeros((len(into), len(layer)), dtype=np.float32), np.zeros(len(layer), dtype=np.float32)
        along = [layer // stride % size for stride, size in zip(strides, known.shape, strict=True)]
        for sign, axis in product((1, -1), range(3)):
            at_end = along[axis] == (known.shape[axis] - 1 if sign > 0 else 0)
            neighbour = np.where(at_end, layer, layer + sign * strides[axis])  # the voxel itself is not known
            is_known = known.ravel()[neighbour]
            count += is_known
            for number, channel in enumerate(into):
                total[number] += channel[neighbour] * is_known
        for channel, values in zip(into, total, strict=True):
            channel[layer] = values / count
        known.ravel()[layer] = True


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask and its 6 neighbours."""
    grown = mask.copy()
    for axis in range(3):
        along, before = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
    return grown


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


def _box(foreground: MetaTensor, margin_mm: float) -> tuple[list[int], list[int]]:
    """First and last-plus-one voxel of the foreground with its margin."""
    geometry = Geometry.of(foreground)
    inside = foreground.as_tensor()[0].numpy() > 0
    start, end = [], []
    for axis, spacing in enumerate(geometry.spacing_mm):
        filled = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(margin_mm / spacing))
        start.append(max(0, int(filled[0]) - margin))
        end.append(min(geometry.shape[axis], int(filled[-1]) + 1 + margin))
    return start, end


def _plain(image: MetaTensor) -> MetaTensor:
    """The same voxels and affine without MONAI's record of what was done to them."""
    return MetaTensor(image.as_tensor().float().contiguous(), affine=torch.as_tensor(image.affine).double())


def _commonest_modality(fingerprints: Sequence[ScanFingerprint]) -> Literal["CT", "MR"]:
    n_ct = sum(f.modality == "CT" for f in fingerprints)
    return "CT" if 2 * n_ct > len(fingerprints) else "MR"


def _planned_spacing(fingerprints: Sequence[ScanFingerprint], config: Config) -> tuple[float, float, float]:
    """Isotropic at the median scan's mean voxel size; the scans' own grid where it is close to isotropic."""
    chosen = config.preprocessing
    spacings = np.array([f.spacing_mm for f in fingerprints])
    median = np.median(spacings, axis=0)
    if median.max() > 2.0 * median.min():
        median = np.full(3, np.exp(np.log(spacings).mean(axis=1)).mean())
    median = np.clip(median, chosen.min_spacing_mm, chosen.max_spacing_mm)
    return tuple(round(float(s), 4) for s in median)  # type: ignore[return-value]


def _planned_patch_size(fingerprints: Sequence[ScanFingerprint], spacing_mm: tuple[float, float, float]) -> int:
    """The largest of 24, 32, 40 that fits into the median scan on the working grid."""
    extents = np.array([np.asarray(f.shape) * f.spacing_mm / spacing_mm for f in fingerprints])
    smallest = float(np.median(extents, axis=0).min())
    return max((size for size in (24, 32, 40) if size <= smallest), default=24)


def _planned_batch_size(patch_size: int, memory_gb: float) -> int:
    """As many patches as a tenth of the GPU's memory holds, 8 at most; about 6 kB a voxel in training."""
    return int(np.clip(memory_gb * 0.1 / (patch_size**3 * 6e-6), 1, 8))
