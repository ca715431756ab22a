"""Clusters of the cohort: what label k means in every scan."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.autoencoder import Autoencoder, embed
from medseg.config import ClusteringConfig
from medseg.preprocessing import Prepared
from medseg.tissues import scores_between, tissue_borders, to_contrast_units


@dataclass(frozen=True)
class ScanTissues:
    """Labels are tissues in ascending intensity, found anew in each scan from its denoised intensities."""

    config: ClusteringConfig

    @classmethod
    def fit(cls, config: ClusteringConfig) -> ScanTissues:
        """Nothing is learned but the network: the tissues are each scan's own."""
        return cls(config)

    def normalise(self, prepared: Prepared) -> Prepared:
        """What the network sees of a scan."""
        return to_contrast_units(prepared, n_tissues=self.config.n_clusters, bias_mm=self.config.bias_mm)

    def scores(self, network: Autoencoder, prepared: Prepared) -> MetaTensor:
        """(K, I, J, K) scores on the working grid; the best one is the label."""
        normalised = self.normalise(prepared)
        mean = embed(network, normalised.image, normalised.foreground).mean
        return scores_between(mean, tissue_borders(mean, normalised.foreground, self.config.n_clusters))

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""
        return {"n_clusters": torch.tensor(self.config.n_clusters)}
