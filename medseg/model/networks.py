"""New networks that start from a cohort's intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medseg.clustering.mixture import spread_centres
from medseg.config import Config
from medseg.network.autoencoder import Autoencoder
from medseg.network.context import ContextEncoder
from medseg.network.tiled_inference import white_noise
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared, channels_of


def new_network(
    config: Config, plan: Plan, prepared: Sequence[Prepared], noise: float | Sequence[float]
) -> Autoencoder:
    """An untrained network that starts from the cohort's intensities."""
    network = Autoencoder(config.autoencoder, plan.channels, config.channels.n_channels, context_of(config, plan))
    k, intensities = config.autoencoder.n_components, sample_intensities(prepared)
    start = None if network.n_inputs == 1 else (lambda rows: spread_centres(rows, k))
    network.start_from(intensities, noise, start)
    if isinstance(network.context, ContextEncoder):
        network.context.start_from(intensities, plan.spacing_mm)
    return network


def context_of(config: Config, plan: Plan) -> ContextEncoder | None:
    """The context encoder of a network, where labels make use of it: regions of CT cohorts."""
    wanted = (
        config.autoencoder.context_steps > 0 and config.clustering.method == "cohort" and plan.window_hu is not None
    )
    return ContextEncoder(config.channels.n_channels) if wanted else None


def sample_intensities(prepared: Sequence[Prepared], n_values: int = 200_000) -> torch.Tensor:
    """(V,) foreground intensities, (V, C) of several channels; the same number of every scan."""
    parts = []
    for item in prepared:
        values = item.network_image.as_tensor()[:, item.foreground.as_tensor()[0] > 0].T
        parts.append(values[:: max(1, len(values) * len(prepared) // n_values)])
    rows = torch.cat(parts)
    return rows[:, 0] if rows.shape[1] == 1 else rows


def noise_of(prepared: Sequence[Prepared]) -> float | list[float]:
    """Median white noise of the scans, in each channel."""
    levels = [[white_noise(x, item.foreground) for x in channels_of(item.network_image)] for item in prepared]
    found = np.median(levels, axis=0)
    return float(found[0]) if len(found) == 1 else [float(noise) for noise in found]
