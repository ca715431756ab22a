"""Gaussian mixture with full covariances over feature vectors, fitted to a sample of the whole cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.special import softmax
from sklearn.cluster import KMeans

Array = npt.NDArray[np.float64]
N_ROUNDS = 100
_FLOOR = 1e-3
"""Least variance of a component in any direction, as a share of the whole sample's."""


@dataclass(frozen=True)
class Mixture:
    """K components over F features: shares (K,), means (K, F), covariances (K, F, F); ascending in feature 0."""

    shares: Array
    means: Array
    covariances: Array

    @classmethod
    def fit(cls, rows: Array, n_components: int, *, shared_covariance: float, seed: int) -> Mixture:
        """EM from k-means (5 starts) on (N, F) `rows`.

        Args:
            shared_covariance: share of the covariance that all components have in common, 0 to 1.
        """
        labels = KMeans(n_components, n_init=5, random_state=seed).fit_predict(rows)
        weights = np.eye(n_components)[labels]
        floor = _FLOOR * np.diag(rows.var(axis=0) + 1e-9)
        for _ in range(N_ROUNDS):
            mixture = cls._maximise(rows, weights, shared_covariance, floor)
            weights = mixture.responsibilities(rows)
        order = np.argsort(mixture.means[:, 0])
        return cls(mixture.shares[order], mixture.means[order], mixture.covariances[order])

    @classmethod
    def _maximise(cls, rows: Array, weights: Array, shared_covariance: float, floor: Array) -> Mixture:
        mass = weights.sum(axis=0) + 1e-6
        shares, means = mass / mass.sum(), (weights.T @ rows) / mass[:, None]
        own = []
        for mean, weight, total in zip(means, weights.T, mass, strict=True):
            centred = rows - mean
            own.append((centred * weight[:, None]).T @ centred / total)
        covariances = np.stack(own)
        shared = np.tensordot(shares, covariances, 1)
        return cls(shares, means, (1 - shared_covariance) * covariances + shared_covariance * shared + floor)

    def responsibilities(self, rows: Array) -> Array:
        """(N, F) -> (N, K) posterior shares, rows sum to one."""
        logs = []
        for share, mean, covariance in zip(self.shares, self.means, self.covariances, strict=True):
            factor = np.linalg.cholesky(covariance)
            white = solve_triangular(factor, (rows - mean).T, lower=True)
            logs.append(np.log(share) - 0.5 * (white**2).sum(axis=0) - np.log(np.diag(factor)).sum())
        return np.asarray(softmax(np.stack(logs, axis=1), axis=1))


@dataclass(frozen=True)
class Projection:
    """Affine map onto leading principal components: (rows - mean) @ matrix."""

    mean: Array
    matrix: Array

    @classmethod
    def fit(cls, rows: Array, n_kept: int, *, whiten: bool) -> Projection:
        """Principal components of (N, F) rows, each of unit variance, or all scaled as the first."""
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows.T)))
        values, vectors = np.maximum(values[::-1][:n_kept], 1e-12), vectors[:, ::-1][:, :n_kept]
        return cls(rows.mean(axis=0), vectors / (np.sqrt(values) if whiten else np.sqrt(values[0])))

    def __call__(self, rows: Array) -> Array:
        """(N, F) -> (N, n_kept)."""
        return np.asarray((rows - self.mean) @ self.matrix)
