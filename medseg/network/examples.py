"""Examples of what the network makes of patches, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.prepare import Prepared

Plane = npt.NDArray[np.float32]
N_EXAMPLES = 4
_N_TRIED = 24


@dataclass(frozen=True)
class Example:
    """The middle axial plane (I, J) of a patch, i to the right and j to the front, 0 outside the foreground.

    Attributes:
        original: the first channel as the network sees it, 0 and 1 at percentiles 1 and 99.5 of the plane.
        reconstruction: what it expects of each voxel from its surroundings, the voxel itself hidden; same unit.
    """

    original: Plane
    reconstruction: Plane


def examples_of(
    network: Autoencoder, prepared: Sequence[Prepared], patch_size: int, *, seed: int, n: int = N_EXAMPLES
) -> list[Example]:
    """`n` patches of scans spread over the cohort, each the richest of a few at random places.

    Args:
        patch_size: voxels along an axis of a patch, whole cells of the network.
    """
    scans = [prepared[int(place)] for place in np.linspace(0, len(prepared) - 1, n)]
    randomness = np.random.default_rng((seed, n))
    return [_example(network, _richest_patch(scan, patch_size, randomness)) for scan in scans]


def _richest_patch(scan: Prepared, size: int, randomness: np.random.Generator) -> Tensor:
    """(C + 1, size, size, size) intensities and foreground around the voxel whose plane has most of both to show."""
    both = torch.cat([scan.network_image.as_tensor(), scan.foreground.as_tensor()]).float()
    both = functional.pad(both, [p for n in reversed(both.shape[1:]) for p in (0, max(0, size - n))])
    where = np.flatnonzero(both[-1].cpu().numpy())
    centres = np.stack(np.unravel_index(randomness.choice(where, _N_TRIED), both.shape[1:]), axis=1)
    starts = np.clip(centres - size // 2, 0, np.asarray(both.shape[1:]) - size)
    patches = [both[(slice(None), *(slice(int(s), int(s) + size) for s in start))] for start in starts]
    return max(patches, key=_interest)


def _interest(patch: Tensor) -> float:
    plane = patch[..., patch.shape[-1] // 2]
    inside = plane[-1] > 0
    return float(plane[0][inside].std()) * float(inside.float().mean()) if int(inside.sum()) > 1 else 0.0


@torch.no_grad()
def _example(network: Autoencoder, patch: Tensor) -> Example:
    patch = patch.to(network.scale.device)[None]
    intensity, inside = patch[:, :-1], patch[:, -1:]
    log_prior = network(torch.cat([network.standardise(intensity, inside), inside], dim=1)).float()
    means, scale, centre = network.components()[0][:, 0], network.scale.view(-1)[0], network.centre.view(-1)[0]
    expected = (log_prior.exp() @ means * scale + centre).reshape(inside.shape)
    middle = patch.shape[-1] // 2
    original, made, kept = (part[0, 0, ..., middle].cpu().numpy() for part in (intensity, expected, inside > 0))
    low, high = np.percentile(original[kept] if kept.any() else original, (1, 99.5))
    scaled = [np.where(kept, (part - low) / max(high - low, 1e-6), 0).clip(0, 1) for part in (original, made)]
    return Example(*(part.astype(np.float32) for part in scaled))
