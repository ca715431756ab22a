"""Clusters of the whole cohort by intensity, or by texture where intensity tells nothing: one Gaussian mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.clustering.mixture import Features, Mixture
from medseg.clustering.neighbourhood import keep_bulk, smooth_posteriors
from medseg.clustering.posteriors import ClusterPosteriors
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.texture import TextureEncoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.prepare import Prepared, arrays
from medseg.runtime.cache import Store
from medseg.spatial.extrapolate import continue_beyond
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import pool

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MixtureCohort:
    """Fitted to a cohort; labels ascend in mean intensity.

    The intensity is a vector with an entry for each channel, and a label a Gaussian of it with full covariance.
    """

    config: ClusteringConfig
    mixture: Mixture

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
    ) -> MixtureCohort:
        """Fit the mixture to a sample with the same number of voxels of every scan."""
        rows = [_features(network, item, config, store) for item in prepared]
        randomness, each = np.random.default_rng(seed), max(1, config.max_samples // len(rows))
        drawn = np.concatenate([part[randomness.permutation(len(part))[:each]] for part in rows]).astype(np.float64)
        shrinkage = config.covariance_shrinkage
        return cls(config, Mixture.fit(drawn, config.n_clusters, covariance_shrinkage=shrinkage, seed=seed))

    def posteriors(self, network: Autoencoder, prepared: Prepared, store: Store | None = None) -> ClusterPosteriors:
        """The posteriors and the features that they come from."""
        rows = _features(network, prepared, self.config, store or Store())
        return ClusterPosteriors(self._scores_of(rows, prepared), lambda: rows)

    def _scores_of(self, rows: Features, prepared: Prepared) -> MetaTensor:
        inside = arrays(prepared)[1]
        spacing = Geometry.of(prepared.image).spacing_in_person_mm
        posteriors = smooth_posteriors(self.mixture.responsibilities(rows), inside, self.config.mrf_weight, spacing)
        low, high = self.config.bulk_range
        for label in np.flatnonzero((self.mixture.means[:, 0] >= low) & (self.mixture.means[:, 0] <= high)):
            posteriors = keep_bulk(posteriors, inside, int(label), self.config.min_component_fraction)
        scores = np.zeros((self.config.n_clusters, *inside.shape), dtype=np.float16)
        for score, column in zip(scores, posteriors.T, strict=True):
            score[inside] = column
        found = MetaTensor(torch.from_numpy(scores), affine=prepared.image.affine)
        continue_beyond(found.as_tensor(), prepared.foreground.as_tensor()[0])
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, flat."""
        return {f"mixture.{name}": torch.from_numpy(np.ascontiguousarray(x)) for name, x in vars(self.mixture).items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], config: ClusteringConfig) -> MixtureCohort:
        """The inverse of `tensors`.

        Raises:
            KeyError: a tensor is missing.
        """
        return cls(config, Mixture(*(tensors[f"mixture.{n}"].numpy() for n in ("shares", "means", "covariances"))))


def _features(network: Autoencoder, prepared: Prepared, config: ClusteringConfig, store: Store) -> Features:
    """(V, F) float32 of the foreground voxels: denoised intensity of each channel first, then the texture latent."""
    made = partial(_features_of, network, prepared, config)
    what = network, config.intensity_sigma_mm, config.texture
    return store.once(prepared.image, what, lambda: store.array(made()))


def _features_of(network: Autoencoder, prepared: Prepared, config: ClusteringConfig) -> Features:
    inside = arrays(prepared)[1]
    means = embed(network, prepared.image, prepared.foreground).mean.as_tensor().numpy()
    spacing = Geometry.of(prepared.image).spacing_in_person_mm
    columns = [pool(mean, inside, config.intensity_sigma_mm, spacing)[inside][:, None] for mean in means]
    if isinstance(network.texture, TextureEncoder):
        latent = network.texture.encode(prepared.image.as_tensor(), prepared.foreground.as_tensor()).numpy()
        columns.append(np.float32(config.texture) * latent[:, inside].T)
    return np.concatenate(columns, axis=1)
