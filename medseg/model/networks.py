"""New networks that start from a cohort's intensities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from medseg.clustering.mixture import spread_centres
from medseg.config import Config
from medseg.network.autoencoder import Autoencoder
from medseg.network.context import ContextEncoder
from medseg.network.context_training import train_context
from medseg.network.texture import TextureEncoder, train_texture
from medseg.network.tiled_inference import white_noise
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared, channels_of
from medseg.spatial.geometry import in_person_mm


def new_network(
    config: Config, plan: Plan, prepared: Sequence[Prepared], noise: float | Sequence[float]
) -> Autoencoder:
    """An untrained network that starts from the cohort's intensities."""
    network = blank_network(config, plan)
    k, intensities = config.autoencoder.n_components, sample_intensities(prepared)
    start = None if network.n_inputs == 1 else (lambda rows: spread_centres(rows, k))
    network.start_from(intensities, noise, start)
    if isinstance(network.context, ContextEncoder):
        network.context.start_from(intensities, in_person_mm(plan.spacing_mm))
    if isinstance(network.texture, TextureEncoder):
        network.texture.start_from(intensities)
    return network


def blank_network(config: Config, plan: Plan) -> Autoencoder:
    """A network of the right sizes, whose weights mean nothing."""
    return Autoencoder(config.autoencoder, plan.channels, config.channels.n_channels, **heads_of(config, plan))


def heads_of(config: Config, plan: Plan) -> dict[str, nn.Module]:
    """What a network learns beside the likelihood of its voxels, where labels make use of it, by name.

    The context encoder: regions of CT cohorts. The texture encoder: a mixture of textures.
    """
    chosen, n_channels, found = config.clustering, config.channels.n_channels, dict[str, nn.Module]()
    if chosen.method == "cohort" and plan.window_hu is not None and config.autoencoder.context_steps > 0:
        found["context"] = ContextEncoder(n_channels)
    if chosen.method == "mixture" and chosen.texture > 0:
        found["texture"] = TextureEncoder(n_channels)
    return found


def train_heads(
    network: Autoencoder,
    prepared: Sequence[Prepared],
    config: Config,
    *,
    on_stage: Callable[[str], None] = lambda _stage: None,
    on_step: Callable[[int, int, float], None] = lambda _done, _most, _loss: None,
) -> None:
    """Train what the network learns beside the likelihood, in place; `on_stage` hears ``context`` and ``texture``."""
    steps, seed = config.autoencoder, config.training.seed
    if isinstance(network.context, ContextEncoder):
        on_stage("context")
        train_context(network.context, prepared, n_steps=steps.context_steps, seed=seed, on_step=on_step)
    if isinstance(network.texture, TextureEncoder):
        on_stage("texture")
        train_texture(network.texture, prepared, n_steps=steps.texture_steps, seed=seed, on_step=on_step)


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
