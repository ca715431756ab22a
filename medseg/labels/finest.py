"""The leaf of a hierarchy that each voxel belongs to, on the native grid."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.labels.description import Description, LeafPosteriors
from medseg.labels.hierarchy import Groups, Hierarchy
from medseg.spatial.chunks import filled_slabs
from medseg.spatial.geometry import Geometry

Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.unsignedinteger]
SLAB_VALUES = 40_000_000


def leaves_on(
    tree: Hierarchy,
    geometry: Geometry,
    description: Description | LeafPosteriors,
    labels: Labels,
    groups: Groups,
) -> npt.NDArray[np.uint8]:
    """(I, J, K) leaf of each voxel: the nearest among those of its label; 0 stays 0.

    Args:
        labels: (I, J, K) on the native grid `geometry`, cleaned.
        groups: number in `labels` -> the fitted labels that it is made of.
    """
    leaves = np.zeros(geometry.shape, dtype=np.uint8)
    for place, grid in filled_slabs(geometry, labels, 2 * len(tree.shift), SLAB_VALUES):
        features = description.on(grid)
        part, out = labels[place], leaves[place]
        for number, members in groups.items():
            here = part == number
            if here.any():
                out[here] = _nearest(tree, features[:, torch.from_numpy(here).to(features.device)], members)
    return leaves


def _nearest(tree: Hierarchy, features: Tensor, members: tuple[int, ...]) -> Integers:
    """(N,) leaf for (D, N) features."""
    candidates = np.flatnonzero(np.isin(tree.owners, members))
    centres = torch.as_tensor(tree.centres[candidates], dtype=torch.float32, device=features.device)
    shift, scale = (torch.as_tensor(x, dtype=torch.float32, device=features.device)[:, None]
                    for x in (tree.shift, tree.scale))  # fmt: skip
    distance = (centres**2).sum(dim=1, keepdim=True) - 2 * centres @ ((features - shift) * scale)
    return cast(Integers, candidates[distance.argmin(dim=0).cpu().numpy()] + 1)
