"""Clusters of one kind: the tissues of each scan by denoised intensity, found anew in every scan."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.clustering.posteriors import IntervalPosteriors
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.prepare import Prepared, channels_of
from medseg.runtime.cache import Store
from medseg.spatial.extrapolate import continue_beyond
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import kept_variance, pool
from medseg.tissues.contrast import histogram_of
from medseg.tissues.local_means import straighten
from medseg.tissues.pure_tissues import pure_tissue_means


def kept_sd(sd: MetaTensor, noise: float, sigma_mm: float) -> MetaTensor:
    """(1, I, J, K) standard deviation of the posterior means once they are smoothed, in units of the image.

    A voxel's noise n enters its posterior mean with the slope dm/dx = sd^2 / noise^2 (Robbins 1956, Miyasawa 1961),
    so sd^4 / noise^2 of the variance sd^2 is noise, which differs from voxel to voxel and averages out. The rest,
    by which the surroundings mislead, may be common to neighbours and is kept.

    Args:
        sd: (1, I, J, K) standard deviation of the posterior of each voxel.
        noise: standard deviation of the white noise in the scan, in units of the image, above 0.
        sigma_mm: standard deviation of the Gaussian that smooths the posterior means; 0 changes nothing.
    """
    kept = kept_variance(sigma_mm, Geometry.of(sd).spacing_in_person_mm)
    slope = (sd.as_tensor() / noise).square_().clamp_max_(1.0)
    return MetaTensor(sd.as_tensor() * (1 - (1 - kept) * slope).sqrt(), affine=sd.affine)


@dataclass(frozen=True)
class ScanTissues:
    """Labels are tissues in ascending intensity, found anew in each scan from its denoised intensities.

    Of several channels the labels are those of the first one, denoised with the help of the others.
    """

    config: ClusteringConfig

    @property
    def tree(self) -> None:
        """Grown later, over the labels."""

    def posteriors(
        self,
        network: Autoencoder,
        prepared: Prepared,
        store: Store | None = None,  # noqa: ARG002 - nothing of a scan is found twice
    ) -> IntervalPosteriors:
        """The intervals, with the noise that the network's posterior leaves in the intensities."""
        found = embed(network, prepared.network_image, prepared.foreground)
        mean, sd = channels_of(found.mean)[0], channels_of(found.sd)[0]
        kept = kept_sd(sd, found.noise[0], self.config.intensity_sigma_mm)
        return self.posteriors_of(mean, prepared.foreground, kept)

    def posteriors_of(self, mean: MetaTensor, inside: MetaTensor, sd: MetaTensor) -> IntervalPosteriors:
        """The intervals of noise-free intensities.

        Args:
            mean: (1, I, J, K) intensities, shading removed and in units of contrast.
            inside: (1, I, J, K) foreground.
            sd: standard deviation of what they are wrong by once they are smoothed.
        """
        n_tissues, means = self.config.n_clusters, None
        if self.config.local_sigma_mm is not None:
            mean, slope, means = straighten(mean, inside, n_tissues=n_tissues, sigma_mm=self.config.local_sigma_mm)
            sd = MetaTensor(sd.as_tensor() * slope, affine=sd.affine)
        histogram = histogram_of(mean.as_tensor(), inside.as_tensor() > 0)
        means = pure_tissue_means(histogram, n_tissues) if means is None else means
        both = torch.cat([self._smooth(mean, inside), sd.as_tensor()])
        continue_beyond(both, inside.as_tensor()[0])
        smooth, noise = (MetaTensor(part[None], affine=mean.affine) for part in both)
        return IntervalPosteriors(smooth, noise, inside, means, histogram)

    def _smooth(self, mean: MetaTensor, foreground: MetaTensor) -> Tensor:
        """Over less than a voxel: what is finer than the scanner's resolution is no tissue."""
        voxels, inside = mean.as_tensor()[0].cpu().numpy(), foreground.as_tensor()[0].cpu().numpy() > 0
        pooled = pool(voxels, inside, self.config.intensity_sigma_mm, Geometry.of(mean).spacing_in_person_mm)
        return torch.from_numpy(pooled[None])

    def tensors(self) -> dict[str, Tensor]:
        """Nothing is learned but the network."""
        return {"n_clusters": torch.tensor(self.config.n_clusters)}
