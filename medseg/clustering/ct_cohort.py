"""Labels of a CT cohort: tissues by Hounsfield units, soft tissue divided by regions that follow visible edges.

Intensity decides first, voxel by voxel, so that what is thin survives. Soft tissue, which intensity cannot divide, is
divided by one Ward tree over the regions of the whole cohort; a region is known by its intensity, by the latent of what
is around it and by where it lies. K is a cut of one tree of divisions, and a new scan is labelled by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import Tensor

from medseg.clustering.divisions import Cohort, Divisions, Part
from medseg.clustering.hounsfield import (
    BINS_HU,
    BONE,
    FAT,
    LUNG,
    SOFT,
    HounsfieldTissues,
    evenness,
    histogram_of,
    sharpened,
)
from medseg.clustering.posteriors import ClusterPosteriors
from medseg.clustering.region_features import RegionFeatures, ScanRegions
from medseg.clustering.tree import MOST_LEAVES, LeafTree
from medseg.clustering.ward import ward
from medseg.config import ClusteringConfig
from medseg.errors import InputError
from medseg.network.autoencoder import Autoencoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.prepare import Prepared, arrays
from medseg.runtime.cache import Store
from medseg.spatial.geometry import Geometry
from medseg.spatial.smoothing import pool

Array = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
Window = tuple[float, float]
LEAST_NOISE_HU = 8.0
"""Least standard deviation with which a denoised voxel lies on one side of a border."""
MOST_REGIONS = 4500
"""Of the whole cohort, equally many of each scan: Ward's tree needs memory for all pairs."""
DIVISION_BINS_HU = np.arange(-1025.0, 3005.0, 5.0)
_OPEN_HU = float(np.finfo(np.float32).max)
"""The end of a leaf that has none: not infinite, because numbers that are not finite tell a damaged model."""


@dataclass(frozen=True)
class CtCohort:
    """Fitted to a CT cohort.

    Attributes:
        window_hu: what 0 and 1 of a prepared image stand for.
        leaves: (L, 3) tissue, low and high HU of each leaf of the tree, in the order of division.
        group_leaf: (G,) leaf of each finest group of regions.
        features: what makes the regions of scans comparable, and the centres of the groups.
    """

    config: ClusteringConfig
    window_hu: Window
    tissues: HounsfieldTissues
    tree: LeafTree
    leaves: Array
    group_leaf: npt.NDArray[np.int64]
    features: RegionFeatures

    @classmethod
    def fit(
        cls,
        network: Autoencoder,
        prepared: Sequence[Prepared],
        config: ClusteringConfig,
        window_hu: Window,
        store: Store,
    ) -> CtCohort:
        """Tissues from the cohort's histogram, a tree over its regions, divisions in the order that scans agree on."""
        scans = [_Scan.once(network, item, config, window_hu, store) for item in prepared]
        tissues = HounsfieldTissues.fit(np.mean([scan.histogram(BINS_HU) for scan in scans], axis=0))
        regions = [scan.soft_regions(network, item, tissues, store) for item, scan in zip(prepared, scans, strict=True)]
        if not any(len(scan.shares) for scan in regions):
            raise InputError("found no soft tissue in any CT, expected bodies; check the scans, or set "
                             "preprocessing.modality=MR", code="no_tissue")  # fmt: skip
        drawn = [scan.drawn(max(2, MOST_REGIONS // len(scans))) for scan in regions]
        features = RegionFeatures.fit(drawn)
        points, weights = features.points(drawn), np.concatenate([scan.shares for scan in drawn]) / len(drawn)
        tree = ward(points, weights)
        n_groups = min(MOST_LEAVES - len(tissues) + 1, len(points))
        features = features.with_centres(points, weights, tree.cut(n_groups), n_groups)
        cohort = Cohort(tree, _masses(drawn), _histograms(scans, tissues), DIVISION_BINS_HU[1:], n_groups)
        divisions = _divisions(cohort, config.n_clusters)
        leaf_tree, leaves, group_leaf = _leaves(divisions, tissues, cohort)
        found = cls(config, window_hu, tissues, leaf_tree, leaves, group_leaf, features)
        return found._measured(prepared, scans, regions)

    def posteriors(self, network: Autoencoder, prepared: Prepared, store: Store | None = None) -> ClusterPosteriors:
        """The posteriors of the leaves, and their sums over the labels of the fit."""
        store = store or Store()
        scan = _Scan.once(network, prepared, self.config, self.window_hu, store)
        leaves = self._leaf_posteriors(scan, scan.soft_regions(network, prepared, self.tissues, store))
        rows = scan.hu[scan.inside][:, None].astype(np.float32)
        owners = self.tree.owners(self.config.n_clusters)
        scores = np.zeros((int(owners.max()), *leaves.shape[1:]), dtype=np.float16)
        for leaf, owner in zip(torch.from_numpy(leaves), owners, strict=True):
            torch.from_numpy(scores[int(owner) - 1]).add_(leaf)
        return ClusterPosteriors.of_cut(scores, lambda: leaves, prepared, lambda: rows)

    def _leaf_posteriors(self, scan: _Scan, regions: ScanRegions) -> npt.NDArray[np.float16]:
        """(L, I, J, K) in the order of their numbers, 0 outside the foreground."""
        place = np.empty(len(self.tree), dtype=np.int64)
        place[self.tree.order(self.config.n_clusters)] = np.arange(len(self.tree))
        found = np.zeros((len(self.tree), *scan.hu.shape), dtype=np.float16)
        rows, places = found.reshape(len(found), -1), np.flatnonzero(scan.inside)
        hu, sd = scan.sharp.ravel()[places], np.float32(max(scan.noise_hu, LEAST_NOISE_HU))
        for leaf, (tissue, low, high) in enumerate(self.leaves):
            if int(tissue) != SOFT:
                rows[place[leaf]][places] = _between(hu, low, high, sd)
        soft = _between(hu, *self.tissues.bounds(SOFT), sd)
        shares, softened = self.features.shares(regions), regions.softened()
        for leaf in np.unique(self.group_leaf):
            share = softened(shares[:, self.group_leaf == leaf].sum(axis=1))
            rows[place[leaf]][places] = soft * share.ravel()[places]
        return found

    def _measured(
        self, prepared: Sequence[Prepared], scans: Sequence[_Scan], regions: Sequence[ScanRegions]
    ) -> CtCohort:
        """The same with the mean intensity and the share of each leaf in the cohort."""
        n_leaves = len(self.tree)
        masses, sums = np.zeros((len(prepared), n_leaves)), np.zeros((len(prepared), n_leaves))
        order = self.tree.order(self.config.n_clusters)
        for number, (item, scan, parts) in enumerate(zip(prepared, scans, regions, strict=True)):
            voxels, inside = arrays(item)
            best = self._leaf_posteriors(scan, parts)[:, inside].argmax(axis=0)
            masses[number][order] = np.bincount(best, minlength=n_leaves)
            sums[number][order] = np.bincount(best, voxels[inside], n_leaves)
        means = sums.sum(axis=0) / np.maximum(masses.sum(axis=0), 1)
        shares = (masses / masses.sum(axis=1, keepdims=True)).mean(axis=0)
        low, high = self.window_hu
        expected = np.clip((self.tree.means - low) / (high - low), 0, 1)  # of a new tree, in Hounsfield units
        tree = self.tree.with_means(means, shares, expected)
        return replace(self, tree=tree)

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, flat."""
        found: dict[str, npt.NDArray[np.generic]] = {
            "ct.window_hu": np.asarray(self.window_hu),
            "ct.cuts": self.tissues.cuts,
            "ct.leaves": self.leaves,
            "ct.group_leaf": self.group_leaf,
            **{f"ct.tree.{name}": value for name, value in vars(self.tree).items()},
            **{f"ct.features.{name}": value for name, value in vars(self.features).items()},
        }
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], config: ClusteringConfig) -> CtCohort:
        """The inverse of `tensors`.

        Raises:
            KeyError: a tensor is missing.
        """
        found = {name: value.numpy() for name, value in tensors.items()}
        low, high = found["ct.window_hu"]
        tree = LeafTree(*(found[f"ct.tree.{name}"] for name in ("parents", "means", "shares")))
        features = RegionFeatures(*(found[f"ct.features.{name}"] for name in RegionFeatures.names()))
        tissues = HounsfieldTissues(found["ct.cuts"])
        return cls(
            config, (float(low), float(high)), tissues, tree, found["ct.leaves"], found["ct.group_leaf"], features
        )


@dataclass(frozen=True)
class _Scan:
    """One scan in Hounsfield units on the working grid: (I, J, K) each."""

    hu: Volume
    sharp: Volume
    even: Volume
    inside: npt.NDArray[np.bool_]
    noise_hu: float

    @classmethod
    def of(cls, network: Autoencoder, prepared: Prepared, config: ClusteringConfig, window_hu: Window) -> _Scan:
        inside = arrays(prepared)[1]
        spacing = Geometry.of(prepared.image).spacing_in_person_mm
        denoised = embed(network, prepared.image, prepared.foreground)
        low, high = window_hu
        mean = low + (high - low) * denoised.mean.as_tensor()[0].numpy()
        smooth = pool(mean.astype(np.float32), inside, config.intensity_sigma_mm, spacing)
        hu = np.where(inside, smooth, low).astype(np.float32)
        noise = 0.5 * denoised.noise[0] * (high - low)  # half: denoised and smoothed
        return cls(hu, sharpened(hu, inside), evenness(hu, spacing), inside, noise)

    @classmethod
    def once(
        cls, network: Autoencoder, prepared: Prepared, config: ClusteringConfig, window_hu: Window, store: Store
    ) -> _Scan:
        """The scan, made the first time only."""
        what = network, config.intensity_sigma_mm, window_hu
        return store.once(prepared.image, what, lambda: cls.of(network, prepared, config, window_hu).kept(store))

    def kept(self, store: Store) -> _Scan:
        """The same, kept where there is room."""
        return replace(self, hu=store.array(self.hu), sharp=store.array(self.sharp), even=store.array(self.even))

    def soft_regions(
        self, network: Autoencoder, prepared: Prepared, tissues: HounsfieldTissues, store: Store
    ) -> ScanRegions:
        """The regions of soft tissue, made the first time only."""

        def made() -> ScanRegions:
            mask, bounds = self.where(tissues, SOFT), tissues.bounds(SOFT)
            return ScanRegions.of(network, prepared, self.hu, mask, bounds).kept(store)

        return store.once(prepared.image, (network, *tissues.cuts), made)

    def histogram(self, bins: Array) -> Array:
        """Shares of the even voxels of the foreground."""
        return histogram_of(self.hu, self.inside, self.even, bins)

    def where(self, tissues: HounsfieldTissues, tissue: int) -> npt.NDArray[np.bool_]:
        """(I, J, K) voxels of a tissue."""
        return np.asarray(self.inside & (tissues.of(self.sharp) == tissue))


def _between(hu: Volume, low: float, high: float, sd: np.float32) -> Volume:
    """(V,) probability that the noise-free intensity lies between two borders."""
    above = ndtr((hu - np.float32(low)) / sd) if np.isfinite(low) else np.ones_like(hu)
    beyond = ndtr((hu - np.float32(high)) / sd) if np.isfinite(high) else np.zeros_like(hu)
    return np.asarray(above - beyond, dtype=np.float32)


def _masses(drawn: Sequence[ScanRegions]) -> Array:
    """(S, R) share of each region in the soft tissue of its scan; 0 in the other scans."""
    found = np.zeros((len(drawn), sum(len(scan.shares) for scan in drawn)))
    at = 0
    for number, scan in enumerate(drawn):
        found[number, at : at + len(scan.shares)] = scan.shares
        at += len(scan.shares)
    return found


def _histograms(scans: Sequence[_Scan], tissues: HounsfieldTissues) -> Array:
    """(S, T, B) even voxels of each tissue by HU."""
    return np.stack([
        np.stack([
            np.histogram(scan.sharp[here], DIVISION_BINS_HU, weights=scan.even[here])[0].astype(np.float64)
            for here in (scan.where(tissues, tissue) for tissue in range(len(tissues)))
        ])
        for scan in scans
    ])  # fmt: skip


def _divisions(cohort: Cohort, n_labels: int) -> Divisions:
    """Lung, fat and bone are divided off soft tissue one after the other; then as the scans agree."""
    n_bins = len(cohort.values)
    soft = Part(SOFT, groups=frozenset(range(cohort.n_groups)))
    others = [Part(tissue, low=0, high=n_bins) for tissue in (LUNG, FAT, BONE)]
    divisions = Divisions(cohort, [soft, *others], [0, 0, 0, 0])
    divisions.grow(MOST_LEAVES)
    while len(divisions.parts) < n_labels:  # nothing is left to divide: labels that no voxel has
        divisions.parts.append(Part(LUNG, low=n_bins, high=n_bins))
        divisions.parents.append(1)
    return divisions


def _leaves(
    divisions: Divisions, tissues: HounsfieldTissues, cohort: Cohort
) -> tuple[LeafTree, Array, npt.NDArray[np.int64]]:
    """The tree of the divisions, (L, 3) tissue and HU of each leaf, and (G,) leaf of each group of regions."""
    n_leaves = len(divisions.parts)
    leaves, group_leaf = np.zeros((n_leaves, 3)), np.zeros(cohort.n_groups, dtype=np.int64)
    for number, part in enumerate(divisions.parts):
        low, high = tissues.bounds(part.tissue)
        if part.groups:
            group_leaf[list(part.groups)] = number
        else:
            low = max(low, -_OPEN_HU if part.low == 0 else float(DIVISION_BINS_HU[part.low]))
            high = min(high, _OPEN_HU if part.high == len(cohort.values) else float(DIVISION_BINS_HU[part.high]))
            low = min(low, high)
        leaves[number] = part.tissue, max(low, -_OPEN_HU), min(high, _OPEN_HU)
    parents = np.asarray(divisions.parents, dtype=np.int64)
    equal = np.full(n_leaves, 1 / n_leaves)
    middle = np.clip(leaves[:, 1], -1000, 1000)
    return LeafTree(parents, middle, equal), leaves, group_leaf
