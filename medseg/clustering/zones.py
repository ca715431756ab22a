"""Clusters of the whole cohort by intensity and texture, some divided into zones by their surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.clustering.mixture import Features, Mixture, Projection
from medseg.clustering.neighbourhood import composition, keep_bulk, smooth_posteriors
from medseg.clustering.posteriors import ClusterPosteriors
from medseg.clustering.texture import learn_filters, log_energies
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.prepare import Prepared, arrays
from medseg.runtime.cache import Store
from medseg.spatial.extrapolate import continue_beyond
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import pool

Array = npt.NDArray[np.float64]
_N_TEXTURES = 6
_N_COMPOSITIONS = 6


@dataclass(frozen=True)
class CohortTissues:
    """Labels are clusters of the whole cohort by intensity and texture, some divided by their surroundings.

    The intensity is a vector with an entry for each channel, and a tissue a Gaussian of it with full covariance.

    Attributes:
        filters: (N, 3, 3, 3) texture filters.
        textures: projection of the log energies; None without texture.
        tissues: mixture over intensity and texture.
        divisions: by tissue number, the projection and mixture of the compositions that divide it.
    """

    config: ClusteringConfig
    filters: Array
    textures: Projection | None
    tissues: Mixture
    divisions: dict[int, tuple[Projection, Mixture]]

    @property
    def tree(self) -> None:
        """Grown later, over the labels."""

    @classmethod
    def fit(
        cls,
        network: Autoencoder,
        prepared: Sequence[Prepared],
        config: ClusteringConfig,
        *,
        seed: int,
        store: Store,
    ) -> CohortTissues:
        """Fit the tissues, then what divides them, on a sample with the same number of voxels of every scan."""
        draw = _Sampler(max(1, config.max_samples // len(prepared)), seed)
        filters = learn_filters(prepared, seed)
        textures = None
        if config.texture:
            energies = [store.array(log_energies(item, filters, config.texture_sigma_mm)) for item in prepared]
            textures = Projection.fit(draw(energies), _N_TEXTURES, whiten=True)
        features = [store.array(_features(network, item, config, filters, textures)) for item in prepared]
        n_tissues = config.n_tissues or config.n_clusters
        tissues = Mixture.fit(draw(features), n_tissues, covariance_shrinkage=config.covariance_shrinkage, seed=seed)
        whole = cls(config, filters, textures, tissues, {})
        parts = whole._parts()
        around, best = [], []
        for item, rows in zip(prepared, features, strict=True):
            posteriors = whole._tissue_posteriors(rows, item)
            best.append(store.array(posteriors.argmax(axis=1).astype(np.uint8)))
            if max(parts) > 1:
                around.append(store.array(whole._composition(posteriors, item)))
        divisions = {}
        for tissue in np.flatnonzero(np.asarray(parts) > 1):
            drawn = draw([a[b == tissue] for a, b in zip(around, best, strict=True)])
            projection = Projection.fit(drawn, _N_COMPOSITIONS, whiten=False)
            mixture = Mixture.fit(
                projection(drawn).astype(np.float64), parts[tissue], covariance_shrinkage=0.05, seed=seed
            )
            divisions[int(tissue)] = (projection, mixture)
        return cls(config, filters, textures, tissues, divisions)

    def _parts(self) -> list[int]:
        """How many labels each tissue is divided into: the largest ones in the range get the spare labels."""
        low, high = self.config.divide_range
        parts = np.ones(len(self.tissues.shares), dtype=int)
        chosen = np.flatnonzero((self.tissues.means[:, 0] >= low) & (self.tissues.means[:, 0] <= high))
        if not chosen.size:
            chosen = np.arange(len(parts))
        for _ in range(self.config.n_clusters - len(parts)):
            parts[chosen[np.argmax(self.tissues.shares[chosen] / parts[chosen])]] += 1
        return [int(n) for n in parts]

    def _tissue_posteriors(self, rows: Features, prepared: Prepared) -> Features:
        """(V, F) features -> (V, n_tissues), smoothed over neighbours."""
        inside = arrays(prepared)[1]
        spacing = Geometry.of(prepared.image).spacing_mm
        return smooth_posteriors(self.tissues.responsibilities(rows), inside, self.config.mrf_weight, spacing)

    def _composition(self, posteriors: Features, prepared: Prepared) -> Features:
        spacing = Geometry.of(prepared.image).spacing_mm
        return composition(posteriors, arrays(prepared)[1], self.config.surroundings_sigma_mm, spacing)

    def posteriors(self, network: Autoencoder, prepared: Prepared) -> ClusterPosteriors:
        """The posteriors and the features that they come from."""
        rows = _features(network, prepared, self.config, self.filters, self.textures)
        return ClusterPosteriors(self._scores_of(rows, prepared), lambda: rows)

    def _scores_of(self, rows: Features, prepared: Prepared) -> MetaTensor:
        inside = arrays(prepared)[1]
        posteriors = self._tissue_posteriors(rows, prepared)
        for tissue in self.divisions if self.config.min_component_fraction else ():
            posteriors = keep_bulk(posteriors, inside, tissue, self.config.min_component_fraction)
        around = self._composition(posteriors, prepared) if self.divisions else posteriors
        scores = np.zeros((self.config.n_clusters, *inside.shape), dtype=np.float16)
        channels = iter(scores)
        for tissue, posterior in enumerate(posteriors.T):
            for share in self._shares(tissue, around).T:
                next(channels)[inside] = posterior * share
        found = MetaTensor(torch.from_numpy(scores), affine=prepared.image.affine)
        continue_beyond(found.as_tensor(), prepared.foreground.as_tensor()[0])
        return found

    def _shares(self, tissue: int, around: Features) -> Features:
        """(V, N) shares of the N labels that a tissue is divided into, by the composition of the surroundings."""
        if tissue not in self.divisions:
            return np.ones((len(around), 1), dtype=np.float32)
        projection, mixture = self.divisions[tissue]
        return mixture.responsibilities(projection(around))

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, flat."""
        found = {"filters": self.filters, **_flat("tissues", self.tissues)}
        if self.textures is not None:
            found |= _flat("textures", self.textures)
        for tissue, (projection, mixture) in self.divisions.items():
            found |= _flat(f"division{tissue}.projection", projection) | _flat(f"division{tissue}.mixture", mixture)
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], config: ClusteringConfig) -> CohortTissues:
        """The inverse of `tensors`.

        Raises:
            KeyError: a tensor is missing.
        """
        found = {name: value.numpy() for name, value in tensors.items()}
        numbers = sorted({int(name.split(".")[0][8:]) for name in found if name.startswith("division")})
        return cls(
            config,
            found["filters"],
            _projection(found, "textures") if config.texture else None,
            _mixture(found, "tissues"),
            {
                n: (_projection(found, f"division{n}.projection"), _mixture(found, f"division{n}.mixture"))
                for n in numbers
            },
        )


def _flat(prefix: str, part: Mixture | Projection) -> dict[str, Array]:
    return {f"{prefix}.{name}": value for name, value in vars(part).items()}


def _mixture(found: dict[str, Array], prefix: str) -> Mixture:
    return Mixture(found[f"{prefix}.shares"], found[f"{prefix}.means"], found[f"{prefix}.covariances"])


def _projection(found: dict[str, Array], prefix: str) -> Projection:
    return Projection(found[f"{prefix}.mean"], found[f"{prefix}.matrix"])


def _features(
    network: Autoencoder, prepared: Prepared, config: ClusteringConfig, filters: Array, textures: Projection | None
) -> Features:
    """(V, F) float32 of the foreground voxels: denoised intensity of each channel first, then textures of the first."""
    inside = arrays(prepared)[1]
    means = embed(network, prepared.image, prepared.foreground).mean.as_tensor().numpy()
    spacing = Geometry.of(prepared.image).spacing_mm
    columns = [pool(mean, inside, config.intensity_sigma_mm, spacing)[inside][:, None] for mean in means]
    if textures is not None:
        columns.append(np.float32(config.texture) * textures(log_energies(prepared, filters, config.texture_sigma_mm)))
    return np.concatenate(columns, axis=1)


class _Sampler:
    """Draws the same number of rows of every scan."""

    def __init__(self, n_rows: int, seed: int) -> None:
        self.n_rows = n_rows
        self.randomness = np.random.default_rng(seed)

    def __call__(self, rows: Sequence[Features]) -> Array:
        """(N, F) float64, because a mixture is fitted to them."""
        drawn = [part[self.randomness.permutation(len(part))[: self.n_rows]] for part in rows]
        return np.concatenate(drawn).astype(np.float64)
