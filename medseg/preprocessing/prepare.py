"""What a scan goes through on its way to the working grid, and what it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.config import ChannelsConfig
from medseg.errors import InputError
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample


class Prepared(NamedTuple):
    """A scan on the working grid.

    Attributes:
        image: (C, I, J, K), 0 and 1 at the ends of its range.
        foreground: (1, I, J, K) of 0 and 1.
        network_image: (C, I, J, K) the image as the network sees it; the same tensor where that makes no difference.
    """

    image: MetaTensor
    foreground: MetaTensor
    network_image: MetaTensor


def channels_of(image: MetaTensor) -> list[MetaTensor]:
    """The C channels of a (C, I, J, K) image, each (1, I, J, K)."""
    if image.shape[0] == 1:
        return [image]
    return [MetaTensor(channel[None], affine=image.affine) for channel in image.as_tensor()]


def check_image(image: MetaTensor, expected: ChannelsConfig) -> None:
    """Refuse a (C, I, J, K) image of another number of channels, or one that is no volume of numbers.

    Raises:
        InputError: ``other_channels``; ``too_small``, fewer than two voxels along an axis; ``not_finite``.
    """
    if min(image.shape[1:]) < 2:
        shape = " x ".join(map(str, image.shape[1:]))
        raise InputError(f"the scan has {shape} voxels, expected two or more along each axis; give a volume",
                         code="too_small")  # fmt: skip
    if not bool(torch.isfinite(image.as_tensor()).all()):
        raise InputError("some intensities are not finite, expected numbers; replace them by the background value",
                         code="not_finite")  # fmt: skip
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


def arrays(prepared: Prepared) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(I, J, K) intensities and foreground."""
    return prepared.image.as_tensor()[0].cpu().numpy(), prepared.foreground.as_tensor()[0].cpu().numpy() > 0
