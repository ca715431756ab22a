"""Clusters: what label k means in every scan. One kind finds tissues in each scan, the others in the whole cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from medseg.clustering.ct_cohort import CtCohort
from medseg.clustering.mixture_cohort import MixtureCohort
from medseg.clustering.mr_cohort import MrCohort
from medseg.clustering.per_scan import ScanTissues
from medseg.clustering.posteriors import Posteriors
from medseg.clustering.tree import LeafTree
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store


class Clusters(Protocol):
    """What a model needs of any kind."""

    @property
    def tree(self) -> LeafTree | None:
        """The tree that the labels are a cut of; None for tissues of each scan, over which one is grown later."""

    def posteriors(self, network: Autoencoder, prepared: Prepared, store: Store | None = None) -> Posteriors:
        """Scores on the working grid, and what they say of probabilities and fractions."""

    def tensors(self) -> dict[str, Tensor]:
        """What is saved; `load_clusters` reads it."""


def n_passes(config: ClusteringConfig, plan: Plan) -> int:
    """How often `fit_clusters` goes through the scans."""
    if config.method == "per_scan":
        return 0
    if config.method == "mixture":
        return 1
    return 2 if plan.window_hu is None else 3


def fit_clusters(
    network: Autoencoder,
    prepared: Sequence[Prepared],
    config: ClusteringConfig,
    plan: Plan,
    *,
    seed: int,
    store: Store | None = None,
) -> Clusters:
    """Cluster the cohort; `prepared` are the scans on the working grid, the network is trained.

    Raises:
        InputError: CT without soft tissue.
    """
    store = store or Store()
    if config.method == "per_scan":
        return ScanTissues(config)
    if config.method == "mixture":
        return MixtureCohort.fit(network, prepared, config, seed=seed, store=store)
    if plan.window_hu is not None:
        return CtCohort.fit(network, prepared, config, plan.window_hu, store)
    return MrCohort.fit(network, prepared, config, store)


def load_clusters(tensors: dict[str, Tensor], config: ClusteringConfig) -> Clusters:
    """The inverse of `Clusters.tensors`.

    Raises:
        KeyError: a tensor is missing.
    """
    if config.method == "per_scan":
        return ScanTissues(config)
    if config.method == "mixture":
        return MixtureCohort.from_tensors(tensors, config)
    return (CtCohort if "ct.cuts" in tensors else MrCohort).from_tensors(tensors, config)
