"""Gaussian mixture with full covariances over feature vectors, fitted to a sample of the whole cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating[Any]]
N_ROUNDS = 100
_START_ROWS = 20_000
_WARD_ROWS = 3_000
_ROWS = 1 << 14
"""Rows whose posterior is computed at once."""
_FLOOR = 1e-3
"""Least variance of a component in any direction, as a share of the whole sample's."""


@dataclass(frozen=True)
class Mixture:
    """K components over F features: shares (K,), means (K, F), covariances (K, F, F); ascending in feature 0."""

    shares: Array
    means: Array
    covariances: Array

    @classmethod
    def fit(cls, rows: Array, n_components: int, *, covariance_shrinkage: float, seed: int) -> Mixture:
        """EM from k-means (5 starts) on (N, F) `rows`.

        Args:
            covariance_shrinkage: share of the covariance that all components have in common, 0 to 1.
        """
        from sklearn.cluster import KMeans

        labels = KMeans(n_components, n_init=5, random_state=seed).fit_predict(rows)
        return cls._fit(rows, np.eye(n_components)[labels], covariance_shrinkage, N_ROUNDS)

    @classmethod
    def fit_from_ward(
        cls, rows: Array, n_components: int, *, covariance_shrinkage: float, n_rounds: int = N_ROUNDS
    ) -> Mixture:
        """EM from Ward's tree of a regular sample: nothing is drawn, so the same rows give the same mixture."""
        from sklearn.cluster import AgglomerativeClustering

        some = rows[:: max(1, len(rows) // _WARD_ROWS)][:_WARD_ROWS]
        parts = AgglomerativeClustering(n_components).fit_predict(some)
        centres = np.stack([some[parts == part].mean(axis=0) for part in range(n_components)])
        nearest = ((centres**2).sum(axis=1) - 2 * rows @ centres.T).argmin(axis=1)
        return cls._fit(rows, np.eye(n_components)[nearest], covariance_shrinkage, n_rounds)

    @classmethod
    def _fit(cls, rows: Array, weights: Features, covariance_shrinkage: float, n_rounds: int) -> Mixture:
        """EM from (N, K) responsibilities."""
        floor = _FLOOR * np.diag(rows.var(axis=0) + 1e-9)
        for _ in range(n_rounds):
            mixture = cls._maximise(rows, weights, covariance_shrinkage, floor)
            weights = mixture.responsibilities(rows)
        order = np.argsort(mixture.means[:, 0])
        return cls(mixture.shares[order], mixture.means[order], mixture.covariances[order])

    @classmethod
    def _maximise(cls, rows: Array, weights: Features, covariance_shrinkage: float, floor: Array) -> Mixture:
        mass = weights.sum(axis=0) + 1e-6
        shares, means = mass / mass.sum(), (weights.T @ rows) / mass[:, None]
        own = []
        for mean, weight, total in zip(means, weights.T, mass, strict=True):
            centred = rows - mean
            own.append((centred * weight[:, None]).T @ centred / total)
        covariances = np.stack(own)
        shared = np.tensordot(shares, covariances, 1)
        return cls(shares, means, (1 - covariance_shrinkage) * covariances + covariance_shrinkage * shared + floor)

    def reordered(self, order: npt.NDArray[np.int64]) -> Mixture:
        """The same components in another order."""
        return Mixture(self.shares[order], self.means[order], self.covariances[order])

    def responsibilities(self, rows: Features) -> Features:
        """(N, F) -> (N, K) posterior shares of the type of `rows`; each row sums to one."""
        whiten = np.linalg.inv(np.linalg.cholesky(self.covariances))
        logs = torch.from_numpy(np.log(self.shares) + np.log(np.diagonal(whiten, axis1=1, axis2=2)).sum(axis=1))
        # All components in one product: |W_k x - W_k m_k|^2, the rows of each W_k one after the other.
        n_features, dtype = rows.shape[1], rows.dtype
        matrix = torch.from_numpy(np.ascontiguousarray(whiten.transpose(2, 1, 0).reshape(n_features, -1), dtype=dtype))
        offset = torch.from_numpy(np.einsum("kij,kj->ik", whiten, self.means).ravel().astype(dtype))
        posteriors = np.empty((len(rows), len(logs)), dtype=dtype)
        for start in range(0, len(rows), _ROWS):
            white = torch.addmm(offset, torch.from_numpy(rows[start : start + _ROWS]), matrix, beta=-1)
            first, *others = white.square_().chunk(n_features, dim=1)
            for other in others:
                first += other
            found = torch.add(logs.to(first.dtype), first, alpha=-0.5)
            torch.softmax(found, dim=1, out=torch.from_numpy(posteriors[start : start + _ROWS]))
        return posteriors


def spread_centres(rows: torch.Tensor, n_centres: int) -> torch.Tensor:
    """(V, C) -> (n_centres, C) centres of k-means on a regular sample of the rows."""
    from sklearn.cluster import KMeans

    sample = rows[:: -(-len(rows) // _START_ROWS)].double().numpy()
    found = KMeans(n_centres, n_init=3, random_state=0).fit(sample).cluster_centers_
    return torch.from_numpy(found).float()
