"""A scan made ready for a model: on the working grid, with the image as the network sees it."""

from __future__ import annotations

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.config import ClusteringConfig
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared, channels_of
from medseg.tissues.contrast import to_contrast_units


def prepare(image: MetaTensor, foreground: MetaTensor, plan: Plan, config: ClusteringConfig) -> Prepared:
    """Bring a native (C, I, J, K) image and its (1, I, J, K) foreground to the working grid.

    Raises:
        InputError: nothing but one intensity in the foreground.
    """
    working, inside = plan.to_working_grid(image, foreground)
    return Prepared(working, inside, network_image(working, inside, config))


def network_image(image: MetaTensor, foreground: MetaTensor, config: ClusteringConfig) -> MetaTensor:
    """The working image as the network sees it: with tissues per scan, shading removed and contrast made common."""
    if config.method != "per_scan":
        return image
    parts = [
        to_contrast_units(channel, foreground, n_tissues=config.n_clusters, bias_sigma_mm=config.bias_sigma_mm)
        for channel in channels_of(image)
    ]
    if len(parts) == 1:
        return parts[0]
    return MetaTensor(torch.cat([part.as_tensor() for part in parts]), affine=image.affine)
