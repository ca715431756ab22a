"""What a region is known by, brought to one scale over the cohort, and which group of regions it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from medseg.clustering.regions import (
    Regions,
    contacts,
    diffused,
    enlarged,
    region_means,
    region_sizes,
    smooth,
    supervoxels,
)
from medseg.network.autoencoder import Autoencoder
from medseg.network.context import N_LATENTS, ContextEncoder
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import pooling

Array = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
SMOOTH_MM = 2.0
"""Smoothing of the image that regions follow."""
EDGE_HU = 60.0
"""What SLIC counts as one unit of intensity."""
ALIKE_HU = 8.0
"""Difference of two regions' means at which features flow e times less between them."""
WEIGHTS = (0.5, 1.0, 0.7)
"""Of intensity, latent and place: the square root of each group's total variance."""
SOFTENING_VOXELS = 1.0
"""Smoothing of the shares of groups, so that a border between regions is no step."""


@dataclass(frozen=True)
class ScanRegions:
    """The regions of one scan.

    Attributes:
        regions: (I, J, K) number of each voxel's region, 0 outside.
        shares: (R,) of each region in all of them.
        rows: (R, F) intensity in HU, latent, place in mm; diffused.
    """

    regions: Regions
    shares: Array
    rows: Array

    @classmethod
    def of(
        cls, network: Autoencoder, prepared: Prepared, hu: Volume, mask: Mask, bounds: tuple[float, float]
    ) -> ScanRegions:
        """Supervoxels inside `mask`, and what each is known by.

        Args:
            hu: (I, J, K) of the scan.
            bounds: HU between which the tissue lies.
        """
        spacing = Geometry.of(prepared.image).spacing_in_person_mm
        image = np.clip(smooth(hu, SMOOTH_MM, spacing), *bounds)
        regions = supervoxels(image / np.float32(EDGE_HU), mask, spacing)
        if not regions.any():
            return cls(regions, np.zeros(0), np.zeros((0, 1)))
        columns = [region_means(regions, image)]
        columns += [region_means(regions, enlarged(cells, hu.shape)) for cells in context_of(network, prepared)]
        rows = diffused(np.stack(columns, axis=1), contacts(regions, columns[0], ALIKE_HU))
        sizes = region_sizes(regions)
        return cls(regions, sizes / sizes.sum(), rows)

    def kept(self, store: Store) -> ScanRegions:
        """The same, kept where there is room."""
        return replace(self, regions=store.array(self.regions))

    def softened(self) -> Callable[[Array], Volume]:
        """From (R,) values of the regions to (I, J, K): smoothed by a voxel, so that a border is no step."""
        smooth = pooling(self.regions > 0, SOFTENING_VOXELS, (1.0, 1.0, 1.0))
        return lambda values: smooth(np.r_[0.0, values].astype(np.float32)[self.regions])

    def drawn(self, most: int) -> ScanRegions:
        """At most so many of the regions, every n-th by size."""
        if len(self.shares) <= most:
            return self
        order = np.argsort(-self.shares, kind="stable")
        chosen = np.sort(order[np.linspace(0, len(order) - 1, most).astype(int)])
        shares = self.shares[chosen]
        return replace(self, shares=shares / shares.sum(), rows=self.rows[chosen])

    @property
    def centred(self) -> Array:
        """(R, F) rows whose latent and place are relative to the scan's mean; intensity is not."""
        if not len(self.rows):
            return self.rows
        mean = self.shares @ self.rows
        mean[0] = 0
        return np.asarray(self.rows - mean)


@dataclass(frozen=True)
class RegionFeatures:
    """Scale of the features, and the centres of the finest groups of regions.

    Attributes:
        shift, scale: (F,) that make the features comparable: (x - shift) * scale.
        centres: (G, F) of the groups.
        spread: (1,) mean squared distance of a region from its group's centre.
    """

    shift: Array
    scale: Array
    centres: Array
    spread: Array

    @staticmethod
    def names() -> tuple[str, ...]:
        """Of the attributes, in their order."""
        return ("shift", "scale", "centres", "spread")

    @classmethod
    def fit(cls, drawn: Sequence[ScanRegions]) -> RegionFeatures:
        """Scales from the regions of all scans, each scan counting equally."""
        rows = np.concatenate([scan.centred for scan in drawn if len(scan.rows)])
        weights = np.concatenate([scan.shares for scan in drawn if len(scan.rows)])
        weights = weights / weights.sum()
        shift = weights @ rows
        variance = weights @ (rows - shift) ** 2
        scale = np.zeros(rows.shape[1])
        for weight, group in zip(WEIGHTS, _groups(rows.shape[1]), strict=True):
            scale[group] = weight / np.sqrt(max(float(variance[group].sum()), 1e-12))
        return cls(shift, scale, np.zeros((0, rows.shape[1])), np.ones(1))

    def points(self, scans: Sequence[ScanRegions]) -> Array:
        """(R, F) comparable features of the regions of several scans."""
        return np.concatenate([(scan.centred - self.shift) * self.scale for scan in scans if len(scan.rows)])

    def with_centres(
        self, points: Array, weights: Array, groups: npt.NDArray[np.int64], n_groups: int
    ) -> RegionFeatures:
        """The same with the centres of groups of `points`."""
        centres = np.stack([
            np.average(points[groups == group], axis=0, weights=weights[groups == group]) for group in range(n_groups)
        ])  # fmt: skip
        spread = np.average(((points - centres[groups]) ** 2).sum(axis=1), weights=weights)
        return replace(self, centres=centres, spread=np.array([max(float(spread), 1e-6)]))

    def shares(self, scan: ScanRegions) -> Array:
        """(R, G) share of each group in each region; rows sum to one."""
        if not len(scan.rows):
            return np.zeros((0, len(self.centres)))
        distance = ((self.points([scan])[:, None] - self.centres[None]) ** 2).sum(axis=2)
        return np.asarray(softmax(-distance / (2 * self.spread[0]), axis=1))


def context_of(network: Autoencoder, prepared: Prepared) -> Volume:
    """(15, i, j, k) latent and place of cells of two voxels; none of them for a network without context."""
    if not isinstance(network.context, ContextEncoder):
        return np.zeros((0, 1, 1, 1), dtype=np.float32)
    found = network.context.encode(prepared.network_image.as_tensor(), prepared.foreground.as_tensor())
    return np.asarray(found.numpy(), dtype=np.float32)


def _groups(n_features: int) -> tuple[slice, slice, slice]:
    """Intensity, latent, place."""
    last = min(1 + N_LATENTS, n_features)
    return slice(0, 1), slice(1, last), slice(last, n_features)
