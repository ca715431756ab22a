"""How unexpected every voxel is, in scans in which this says more than their intensity does. No example is needed.

With a FLAIR among the channels it is what shines there (`medseg.quality.bright`): whatever was tried that does not know
which way a lesion changes its sequence (prediction errors, one channel given the others, densities of all) lost to the
smoothed FLAIR itself. Scans of one channel that are symmetric are compared with what is expected, as follows. For all
others there is no map.

The blind-spot network predicts every voxel from what lies around it; the first part of the anomaly is the distance of
the voxel from this prediction. With one voxel hidden, little but what is as small as a voxel can surprise: a lesion is
predicted by the rest of itself. So the scan is looked at on grids 2 and 4 times as coarse too, up to voxels of 4 mm
(scale space: Lindeberg, IJCV 30:79, 1998). Each scale is brought to robust standard deviations of the scan's own
foreground, so that the coarser ones, on which the network was not trained, compare with the finest. Skin, skull and
sulci are hard to predict in every scan: the error is divided by what is usual at its depth below the surface.

What is large predicts itself on every scale. So the second part is what has no counterpart at the mirrored place
(`medseg.quality.symmetry`). The anomaly is the root of the sum of both squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.network.autoencoder import Autoencoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.histogram import median_and_spread
from medseg.preprocessing.prepare import Prepared
from medseg.quality.bright import brightness, flair_of
from medseg.quality.symmetry import asymmetry
from medseg.spatial.extrapolate import continued
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

COARSEST_MM = 4.0
"""Largest voxel of the grids that the scan is looked at on."""
SMOOTH_MM = 2.0
"""Standard deviation of the smoothing of the anomaly."""
UNIT = "1: odd as 1 voxel in 10 of this depth"
UNIT_FLAIR = "standard deviations above the scan's median"
_LEAST_VOXELS = 64
"""Coarser grids with fewer foreground voxels than this are left out."""
_USUAL = 0.9
"""Quantile of the prediction error that counts as usual at a depth."""
_LAYERS = 12
"""Depths that it is found at, with as many voxels in each."""
_LEAST_IN_LAYER = 500


def scales_of(spacing_mm: Sequence[float]) -> list[int]:
    """How many times as coarse the grids are: 1, 2, 4, as long as their voxels stay below `COARSEST_MM`."""
    return [scale for scale in (1, 2, 4) if scale == 1 or scale * max(spacing_mm) <= 1.05 * COARSEST_MM]


def unit_of(channels: Sequence[str]) -> str:
    """Unit of the map of scans with these channels."""
    return UNIT if flair_of(channels) is None else UNIT_FLAIR


def check_channels(channels: Sequence[str]) -> None:
    """Refuse channels of which no map is better than their intensity.

    Raises:
        ConfigError: several channels, of which none, or more than one, is called FLAIR.
    """
    if channels and flair_of(channels) is None:
        raise ConfigError(
            f"anomaly: found channels {', '.join(channels)}, expected one of them called FLAIR, or scans of one "
            "channel; the map would say less than the intensity itself, leave it out"
        )


def anomaly(network: Autoencoder, prepared: Prepared, channels: Sequence[str] = ()) -> MetaTensor:
    """(1, I, J, K) of 0 or more on the working grid, in the unit of `unit_of`; 0 outside the foreground.

    Args:
        prepared: the scan, not cut off where it is brightest.
        channels: names of its channels; none for a single one.

    Raises:
        ConfigError: channels of which there is no map (`check_channels`).
        InputError: ``not_symmetric``, one channel of a body that has no mirrored side.
    """
    check_channels(channels)
    if (flair := flair_of(channels)) is not None:
        return brightness(prepared, flair)
    unmatched = asymmetry(prepared).as_tensor() ** 2
    unpredicted = by_depth(unpredictability(network, prepared), prepared.foreground).as_tensor() ** 2
    return MetaTensor((unpredicted + unmatched).sqrt(), affine=prepared.network_image.affine)


def unpredictability(network: Autoencoder, prepared: Prepared) -> MetaTensor:
    """(1, I, J, K) smoothed prediction error over all scales and channels, in robust standard deviations."""
    grid = Geometry.of(prepared.network_image)
    inside = prepared.foreground.as_tensor() > 0
    total, n_scales = torch.zeros(inside.shape), 0
    for scale in scales_of(grid.spacing_in_person_mm):
        coarse = _coarser(prepared, scale)
        if int((coarse.foreground.as_tensor() > 0).sum()) < _LEAST_VOXELS and scale > 1:
            continue
        error = continued(prediction_error(network, coarse), coarse.foreground)
        total += (resample(error, grid).as_tensor() ** 2).mean(dim=0, keepdim=True)
        n_scales += 1
    weight = inside.float()
    parts = MetaTensor(torch.cat([(total / n_scales).sqrt() * weight, weight]), affine=prepared.network_image.affine)
    smooth, around = resample(
        parts, grid, sigma=[SMOOTH_MM / spacing for spacing in grid.spacing_in_person_mm]
    ).as_tensor()
    return MetaTensor(smooth[None] / around.clamp_min(1e-3) * inside, affine=prepared.network_image.affine)


def by_depth(values: MetaTensor, foreground: MetaTensor) -> MetaTensor:
    """(1, I, J, K) values over what is usual at their depth below the surface of the foreground; 0 outside."""
    inside = foreground.as_tensor()[0].numpy() > 0
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=Geometry.of(values).spacing_mm)
    depths, found = depth[1:-1, 1:-1, 1:-1][inside], values.as_tensor()[0].numpy()[inside]
    order = np.argsort(depths, kind="stable")
    layers = np.array_split(order, max(1, min(_LAYERS, len(order) // _LEAST_IN_LAYER)))
    usual = [np.quantile(found[layer], _USUAL) for layer in layers]
    smooth = ndimage.gaussian_filter1d(usual, 1.0, mode="nearest")
    middle = [depths[layer].mean() for layer in layers]
    out = np.zeros(inside.shape, dtype=np.float32)
    out[inside] = found / np.maximum(np.interp(depths, middle, smooth), 1e-6)
    return MetaTensor(torch.from_numpy(out[None]), affine=values.affine)


def prediction_error(network: Autoencoder, prepared: Prepared) -> MetaTensor:
    """(C, I, J, K) signed distance of each voxel from its prediction, in robust standard deviations of the scan's."""
    expected = embed(network, prepared.network_image, prepared.foreground, noise=0.0, compute=_predict)
    inside = prepared.foreground.as_tensor() > 0
    errors = (prepared.network_image.as_tensor() - expected.mean.as_tensor()) / expected.sd.as_tensor().clamp_min(1e-6)
    found = []
    for error in errors:
        centre, spread = median_and_spread(error[inside[0]].numpy())
        found.append((error - centre) / max(spread, 1e-6))
    return MetaTensor(torch.stack(found) * inside, affine=prepared.network_image.affine)


def _predict(
    network: Autoencoder, _x: Tensor, features: tuple[Tensor, Tensor], where: Tensor, _noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what the surroundings alone say, at (V,) flat voxels of a slab."""
    means, sds = network.components()
    prior = network.log_prior(*(part[where] for part in features)).float().exp()
    mean = torch.stack([prior @ part for part in means.T])
    squares = torch.stack([prior @ (sd**2 + part**2) for part, sd in zip(means.T, sds.T, strict=True)])
    sd = (squares - mean**2).clamp_min(0).sqrt()
    scale = network.scale.view(-1, 1)
    return network.centre.view(-1, 1) + scale * mean, scale * sd


def _coarser(prepared: Prepared, scale: int) -> Prepared:
    """Mean of the foreground over blocks of `scale` voxels; a block that is half foreground belongs to it."""
    if scale == 1:
        return prepared
    inside = prepared.foreground.as_tensor()
    sizes = [p for n in reversed(inside.shape[1:]) for p in (0, -n % scale)]
    share = functional.avg_pool3d(functional.pad(inside, sizes)[None], scale)[0]
    total = functional.avg_pool3d(functional.pad(prepared.network_image.as_tensor() * inside, sizes)[None], scale)[0]
    affine = torch.tensor(Geometry.of(prepared.image).lattice((scale, scale, scale)).affine)
    kept = (share >= 0.5).float()
    image = MetaTensor(total / share.clamp_min(1e-6) * kept, affine=affine)
    return Prepared(image, MetaTensor(kept, affine=affine), image)
