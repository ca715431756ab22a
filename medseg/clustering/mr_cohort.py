"""Labels of an MR cohort: cells of intensity on one scale, and a tree that joins what lies in like surroundings.

Intensities of MR have no unit: three landmarks of every scan and channel are brought together first (Nyul and Udupa,
MRM 42:1072, 1999). A mixture with many more components than tissues then follows the cohort's histogram. Components
whose voxels have the same neighbours are joined first: the two halves of one tissue, or the rim and the core of a
lesion, lie among the same components, while two tissues of like intensity do not. Labels are smoothed by their own
share around a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.clustering.mixture import Features, Mixture
from medseg.clustering.posteriors import ClusterPosteriors, on_grid
from medseg.clustering.surroundings import Surroundings, evenly_drawn, shares_around
from medseg.clustering.tree import MOST_LEAVES, LeafTree, parents_of_merges
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.prepare import Prepared, arrays
from medseg.runtime.cache import Store
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import pool

Array = npt.NDArray[np.float64]
N_COMPONENTS = 64
"""Many small cells of intensity rather than a component for each tissue: few have local optima, many do not."""
N_EM_ROUNDS = 3
INTENSITY_WEIGHT = 0.1
"""Of the variance of intensities that a join adds (in units of the cohort's), against nats of lost surroundings. Only
what noise leaves of a difference counts, or the noise of a large label is divided before a small one is kept apart:
a mean is scaled by the squared share of variance that is real (by the share itself, 3 of 4 fits of the phantom of
`benchmarks.channels` still divided noise)."""
LANDMARKS = (0.5, 50.0, 99.5)
"""Percentiles of a channel inside the foreground that become 0, 1/2 and 1."""
_ROWS = 1 << 16
"""Voxels that are worked on at a time."""
MOST_VOXELS = 150_000
"""About so many of a scan, evenly drawn, say which components lie among the same ones. All voxels (500,000 of the
gliomas) give the same labels: Dice at least .999 for each of 24."""
AROUND_MM = 6.0
"""Standard deviation of the window in which surroundings are looked at."""
N_BASE = 6
"""Labels that are smoothed; finer ones are told apart inside them."""
N_ROUNDS = 3
_LEAST = 1e-4


@dataclass(frozen=True)
class MrCohort:
    """Fitted to an MR cohort.

    Attributes:
        leaf_of: (M,) leaf of the tree that each component of the mixture belongs to.
    """

    config: ClusteringConfig
    mixture: Mixture
    leaf_of: npt.NDArray[np.int64]
    tree: LeafTree

    @classmethod
    def fit(
        cls, network: Autoencoder, prepared: Sequence[Prepared], config: ClusteringConfig, store: Store
    ) -> MrCohort:
        """The mixture on the same number of voxels of every scan, then the tree on all of them."""
        rows = [features_of(network, item, config, store) for item in prepared]
        each = max(1, config.max_samples // len(rows))
        drawn = np.concatenate([part[:: max(1, len(part) // each)][:each] for part in rows]).astype(np.float64)
        mixture = Mixture.fit_from_ward(
            drawn, N_COMPONENTS, covariance_shrinkage=config.covariance_shrinkage, n_rounds=N_EM_ROUNDS
        )
        shares, contexts = np.zeros(N_COMPONENTS), np.zeros((N_COMPONENTS, N_COMPONENTS))
        for part, item in zip(rows, prepared, strict=True):
            some = evenly_drawn(len(part), MOST_VOXELS)
            posteriors = mixture.responsibilities(part[some])
            around = shares_around(posteriors, item, AROUND_MM, some)
            for start in range(0, len(around), _ROWS):
                found = posteriors[start : start + _ROWS]
                shares += np.ones(len(found), np.float32) @ found / len(around) / len(rows)
                contexts += found.T @ around[start : start + _ROWS] / len(around) / len(rows)
        contexts /= np.maximum(shares[:, None], 1e-12)
        merges = joins_by_context(contexts, shares, mixture.means / drawn.std(axis=0) * reliability_of(network) ** 2)
        leaf_at, parents = parents_of_merges(merges, shares)
        mixture, shares = mixture.reordered(leaf_at), shares[leaf_at]
        whole = LeafTree(parents, mixture.means[:, 0], shares)
        leaf_of = whole.cut(MOST_LEAVES)
        masses = np.asarray(np.bincount(leaf_of, shares, MOST_LEAVES), dtype=np.float64)
        tree = LeafTree(parents[:MOST_LEAVES], whole.label_means(MOST_LEAVES), masses)
        return cls(config, mixture, leaf_of, tree)

    def posteriors(self, network: Autoencoder, prepared: Prepared, store: Store | None = None) -> ClusterPosteriors:
        """The posteriors of the leaves, and their sums over the labels of the fit."""
        rows = features_of(network, prepared, self.config, store or Store())
        found = self._leaf_posteriors(rows, prepared)
        order, owners = self.tree.order(self.config.n_clusters), self.tree.owners(self.config.n_clusters)
        of_label = np.zeros((len(order), int(owners.max())), dtype=np.float32)
        of_label[order, owners - 1] = 1
        inside, leaf_rows = arrays(prepared)[1], torch.from_numpy(found).half().numpy()

        def finer() -> npt.NDArray[np.float16]:
            return on_grid(leaf_rows, inside, order)

        return ClusterPosteriors.of_cut(on_grid(found @ of_label, inside), finer, prepared, lambda: rows)

    def _leaf_posteriors(self, rows: Features, prepared: Prepared) -> Features:
        """(V, F) -> (V, L): base labels under their own smoothed shares, the leaves inside each as the mixture says."""
        found = self.mixture.responsibilities(rows) @ np.eye(len(self.tree), dtype=np.float32)[self.leaf_of]
        n_base = min(N_BASE, len(self.tree))
        owner = np.eye(n_base, dtype=found.dtype)[self.tree.cut(n_base)]
        base = found @ owner
        smooth = under_own_shares(base, self.tree.shares @ owner, prepared, self.config.mrf_weight)
        found *= (smooth / np.maximum(base, 1e-12)) @ owner.T
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, flat."""
        found = {f"mr.mixture.{name}": value for name, value in vars(self.mixture).items()}
        found["mr.leaf_of"] = self.leaf_of
        found |= {f"mr.tree.{name}": value for name, value in vars(self.tree).items()}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], config: ClusteringConfig) -> MrCohort:
        """The inverse of `tensors`.

        Raises:
            KeyError: a tensor is missing.
        """
        found = {name: value.numpy() for name, value in tensors.items()}
        mixture = Mixture(*(found[f"mr.mixture.{name}"] for name in ("shares", "means", "covariances")))
        tree = LeafTree(*(found[f"mr.tree.{name}"] for name in ("parents", "means", "shares")))
        return cls(config, mixture, found["mr.leaf_of"], tree)


def features_of(network: Autoencoder, prepared: Prepared, config: ClusteringConfig, store: Store) -> Features:
    """(V, C) float32 of the foreground: denoised intensity of each channel, landmarks brought together, smoothed."""
    made = partial(_features_of, network, prepared, config)
    return store.once(prepared.image, (network, config.intensity_sigma_mm), lambda: store.array(made()))


def _features_of(network: Autoencoder, prepared: Prepared, config: ClusteringConfig) -> Features:
    inside = arrays(prepared)[1]
    spacing = Geometry.of(prepared.image).spacing_in_person_mm
    columns = []
    for mean in embed(network, prepared.image, prepared.foreground).mean.as_tensor().numpy():
        low, middle, high = np.percentile(mean[inside], LANDMARKS)
        middle, high = max(middle, low + 1e-6), max(high, middle + 1e-6, low + 2e-6)
        scaled = np.interp(mean, [low, middle, high], [0, 0.5, 1]).astype(np.float32)
        columns.append(pool(scaled, inside, config.intensity_sigma_mm, spacing)[inside])
    return np.stack(columns, axis=1)


def reliability_of(network: Autoencoder) -> Array:
    """(C,) share of each channel's variance that is not white noise: how much of a difference of intensity is real."""
    return np.asarray((1 - network.noise.detach().cpu().double() ** 2).clamp_min(0).reshape(-1).numpy())


def under_own_shares(posteriors: Features, shares: Array, prepared: Prepared, strength: float) -> Features:
    """(V, K) posteriors whose prior is each label's share around the voxel instead of its share in the cohort.

    Spatially varying mixing proportions (Nikou, Galatsanos and Likas, IEEE TMI 26:1121, 2007), by Gaussian windows.

    Args:
        shares: (K,) that the posteriors were computed with.
        strength: exponent of the prior; 0: posteriors as they are.
    """
    if strength == 0:
        return posteriors
    surroundings = Surroundings(prepared, AROUND_MM)
    each = torch.from_numpy(np.maximum(shares, 1e-12).astype(np.float32))
    likelihood = (torch.from_numpy(posteriors) / each).clamp_(min=1e-6).log_()
    for _ in range(N_ROUNDS):
        around = torch.from_numpy(surroundings.shares(posteriors))
        logs = around.clamp_(min=_LEAST).log_().mul_(strength).add_(likelihood)
        posteriors = torch.softmax(logs, dim=1).numpy()
    return posteriors


def joins_by_context(contexts: Array, shares: Array, intensities: Array) -> list[tuple[int, int]]:
    """Joins of the nodes 0..L-1 (the i-th join is node L + i): always the pair that is told apart least.

    The cost of a join is the information on a voxel's surroundings that is lost with it: the weighted Jensen-Shannon
    divergence (Lin, IEEE Trans. Information Theory 37:145, 1991), as in the agglomerative information bottleneck
    (Slonim and Tishby, NIPS 1999); and Ward's criterion on intensities, so that what is bright inside a lesion is not
    joined with the rest of it before anything else.

    Args:
        contexts: (L, L) mean shares of the components around the voxels of each.
        shares: (L,) of the components.
        intensities: (L, C) means in units of the cohort's standard deviations, less what noise makes of them.
    """
    scaled = contexts / np.maximum(contexts.sum(axis=1, keepdims=True), 1e-12)
    nodes = {n: _Node(scaled[n], intensities[n], float(shares[n])) for n in range(len(shares))}
    costs = {(a, b): nodes[a].cost(nodes[b]) for a, b in combinations(nodes, 2)}
    joins: list[tuple[int, int]] = []
    while costs:
        a, b = min(costs, key=lambda pair: (costs[pair], pair))
        joined = nodes.pop(a).joined(nodes.pop(b))
        number = len(shares) + len(joins)
        joins.append((a, b))
        costs = {pair: cost for pair, cost in costs.items() if a not in pair and b not in pair}
        costs |= {(other, number): node.cost(joined) for other, node in nodes.items()}
        nodes[number] = joined
    return joins


class _Node(NamedTuple):
    """Mean surroundings and intensity of some components, and their share."""

    around: Array
    intensity: Array
    share: float

    def joined(self, other: _Node) -> _Node:
        total = max(self.share + other.share, 1e-12)
        around, intensity = (
            (self.share * one + other.share * two) / total
            for one, two in ((self.around, other.around), (self.intensity, other.intensity))
        )
        return _Node(around, intensity, self.share + other.share)

    def cost(self, other: _Node) -> float:
        both = self.joined(other)
        middle = np.maximum(both.around, 1e-12)
        lost = sum(
            node.share * float((node.around * np.log(np.maximum(node.around, 1e-12) / middle)).sum())
            for node in (self, other)
        )
        harmonic = self.share * other.share / max(both.share, 1e-12)
        return lost + INTENSITY_WEIGHT * harmonic * float(((self.intensity - other.intensity) ** 2).sum())
