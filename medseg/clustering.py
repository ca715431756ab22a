"""Clusters of the cohort: what label k means, adapted to each scan without ever changing its name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.autoencoder import Autoencoder, embed
from medseg.patches import hide_voxels
from medseg.preprocessing import Prepared
from medseg.tissues import Tissues, cohort_means, fit_tissues


@dataclass(frozen=True)
class Clusters:
    """The cohort's tissues.

    Attributes:
        means, sds: (K,) of the normalised intensity, bias removed.
        bias_field: whether each scan's shading is estimated.
    """

    means: Tensor
    sds: Tensor
    bias_field: bool

    @classmethod
    def fit(cls, prepared: list[Prepared], n_clusters: int, *, bias_field: bool, seed: int) -> Clusters:
        """Tissues of the whole cohort together: k-means start, one EM a scan, averaged."""
        start = cohort_means(prepared, n_clusters, seed)
        each = [fit_tissues(item, start, bias_field=bias_field) for item in prepared]
        means = torch.stack([t.means for t in each]).median(dim=0).values
        sds = torch.stack([t.sds for t in each]).median(dim=0).values
        return cls(means, sds, bias_field)

    def normalise(self, prepared: Prepared) -> tuple[Prepared, Tissues]:
        """The scan with its shading removed and its tissues moved to the cohort's means."""
        tissues = fit_tissues(prepared, self.means, bias_field=self.bias_field)
        image = prepared.image.as_tensor() / tissues.bias.as_tensor()
        weight = tissues.shares
        own, common = (tissues.means * weight).sum(), (self.means * weight).sum()
        slope = (weight * (tissues.means - own) * (self.means - common)).sum() / (
            weight * (tissues.means - own) ** 2
        ).sum().clamp_min(1e-6)
        moved = common + slope * (image - own)
        return Prepared(MetaTensor(moved.clamp(-0.25, 1.5), affine=prepared.image.affine), prepared.foreground), tissues

    def loss(self, network: Autoencoder, patches: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
        """Negative log likelihood of the hidden foreground voxels, in nats a voxel."""
        seen, hidden = hide_voxels(patches, 0.25, generator)
        log_prior = torch.log_softmax(network(seen).float(), dim=1)
        view = (1, -1, 1, 1, 1)
        means, sds = self.means.to(patches.device).view(view), self.sds.to(patches.device).view(view)
        log_likelihood = -0.5 * ((patches - means) / sds) ** 2 - torch.log(sds)
        value = -torch.logsumexp(log_prior + log_likelihood, dim=1, keepdim=True)
        weight = (hidden & (inside > 0)).float()
        return (value * weight).sum() / weight.sum().clamp_min(1)

    def scores(self, network: Autoencoder, prepared: Prepared) -> MetaTensor:
        """(K, I, J, K) log posterior up to a constant on the working grid, adapted to this scan."""
        normalised, tissues = self.normalise(prepared)
        log_prior = torch.log_softmax(embed(network, normalised.image).as_tensor(), dim=0)
        adapted = fit_tissues(prepared, tissues.means, log_prior=log_prior, bias_field=self.bias_field, n_iterations=5)
        likelihood = adapted.log_likelihood(prepared.image.as_tensor()[0], adapted.bias.as_tensor()[0])
        return MetaTensor(log_prior + likelihood, affine=prepared.image.affine)

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""
        return {"means": self.means, "sds": self.sds, "bias_field": torch.tensor(self.bias_field)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Clusters:
        """The inverse of `tensors`."""
        return cls(tensors["means"], tensors["sds"], bool(tensors["bias_field"]))
