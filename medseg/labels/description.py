"""What the voxels of one scan look like and lie among, on any grid: what a hierarchy of labels is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.clustering.posteriors import Posteriors, moved
from medseg.preprocessing.prepare import Prepared
from medseg.spatial.extrapolate import continued
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.spatial.smoothing import FieldRegression

Array = npt.NDArray[np.float64]
SURROUNDINGS_SIGMA_MM = 24.0
"""Standard deviation of the window whose composition tells voxels of one label apart."""


@dataclass(frozen=True)
class Description:
    """Features of one scan.

    Attributes:
        own: (F, I, J, K) on the working grid: what the labels were told apart by, intensity first.
        around: (K + 1, i, j, k) on a coarse lattice: shares of the labels in the surroundings, and how much of these
            lies inside.
    """

    own: MetaTensor
    around: MetaTensor

    @classmethod
    def of(cls, posteriors: Posteriors, prepared: Prepared) -> Description:
        """From a scan's posteriors; the surroundings are those of its best labels."""
        inside = prepared.foreground.as_tensor()[0] > 0
        features = torch.from_numpy(posteriors.features().astype(np.float32))
        own = torch.zeros((features.shape[1], *inside.shape))
        own[:, inside] = features.T
        affine = prepared.image.affine
        regression = FieldRegression(prepared.foreground, SURROUNDINGS_SIGMA_MM)
        best = posteriors.scores.as_tensor().argmax(dim=0, keepdim=True).float()
        found = regression.pick(MetaTensor(best, affine=affine))
        masses = [regression.smooth((found == label).astype(np.float32)) for label in range(posteriors.scores.shape[0])]
        total = np.sum(masses, axis=0)
        shares = [mass / np.maximum(total, 1e-6) for mass in masses] + [total / max(float(total.max()), 1e-6)]
        around = MetaTensor(torch.from_numpy(np.stack(shares)), affine=regression.as_image(total).affine)
        continued_own, device = continued(MetaTensor(own, affine=affine), prepared.foreground), best.device
        return cls(moved(continued_own, device), moved(around, device))

    @property
    def n_features(self) -> tuple[int, int]:
        """How many features are a voxel's own, and how many its surroundings'."""
        return self.own.shape[0], self.around.shape[0]

    def on(self, grid: Geometry) -> Tensor:
        """(F + K + 1, *grid.shape); square roots of shares, so that Euclidean distance is Hellinger's."""
        return torch.cat(
            [resample(self.own, grid).as_tensor(), resample(self.around, grid).as_tensor().clamp_min(0).sqrt()]
        )


@dataclass(frozen=True)
class LeafPosteriors:
    """Posteriors of the leaves of a tree that the clusters came with: (L, I, J, K) on the working grid."""

    leaves: MetaTensor

    def on(self, grid: Geometry) -> Tensor:
        """(L, *grid.shape)."""
        return resample(self.leaves, grid).as_tensor()


def describe(posteriors: Posteriors, prepared: Prepared) -> Description | LeafPosteriors:
    """What tells the leaves of a scan apart."""
    if posteriors.leaves is not None:
        return LeafPosteriors(posteriors.leaves)
    return Description.of(posteriors, prepared)


@dataclass(frozen=True)
class Sample:
    """Voxels of one scan: (N, D) features, (N,) labels from 0, and how many features are the voxel's own."""

    rows: Array
    labels: npt.NDArray[np.int64]
    n_own: int

    @classmethod
    def of(cls, description: Description, best: Tensor, prepared: Prepared, n_rows: int, seed: int) -> Sample:
        """`n_rows` foreground voxels at random, on a grid thinned to about eight times as many.

        Args:
            best: (I, J, K) labels from 0 on the working grid.
        """
        inside = prepared.foreground.as_tensor()[0] > 0
        step = max(1, int((int(inside.sum()) / (8 * n_rows)) ** (1 / 3)))
        thin = (slice(None, None, step),) * 3
        chosen = inside[thin].cpu()
        features = description.on(Geometry.of(prepared.image).every(step))[:, chosen].T.cpu().numpy()
        labels = best[thin].cpu()[chosen].numpy()
        order = np.random.default_rng(seed).permutation(len(labels))[:n_rows]
        return cls(features[order].astype(np.float64), labels[order], description.n_features[0])
