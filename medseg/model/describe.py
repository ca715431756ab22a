"""What the labels of a fit are like: intensity, volume, tree; and what is usual in the scans it was fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medseg.clustering.cohort import Clusters
from medseg.config import Config
from medseg.labels.description import Description, Sample
from medseg.labels.growth import N_SAMPLES, grown
from medseg.labels.hierarchy import Hierarchy
from medseg.labels.scheme import LabelScheme
from medseg.labels.table import LabelTable
from medseg.model.stability import N_HALVES, Labels, labels_inside
from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.quality.metrics import measure
from medseg.quality.reference import QualityReference
from medseg.runtime.cache import Store
from medseg.spatial.geometry import Geometry


def describe_labels(
    config: Config,
    plan: Plan,
    network: Autoencoder,
    clusters: Clusters,
    prepared: Sequence[Prepared],
    store: Store,
) -> tuple[LabelScheme, QualityReference, list[Labels]]:
    """Each label's mean intensity and median volume, the tree over the labels, and what is usual in these scans.

    Args:
        store: keeps what the fit has found of the scans already.

    Returns:
        The labels, what is usual, and `labels_inside` of the first two scans.
    """
    seed, n_labels = config.training.seed, config.clustering.n_clusters
    volumes, totals, counts = [], torch.zeros(n_labels), torch.zeros(n_labels)
    samples, measures, first = [], [], list[Labels]()
    for item in prepared:
        posteriors = clusters.posteriors(network, item, store)
        measures.append(measure(network, item, posteriors))
        labels = labels_inside(posteriors, item)
        if len(first) < N_HALVES:
            first.append(labels)
        if clusters.tree is None:
            description, best = Description.of(posteriors, item), posteriors.scores.as_tensor().argmax(dim=0)
            samples.append(Sample.of(description, best, item, max(1, N_SAMPLES // len(prepared)), seed))
        inside, best = item.foreground.as_tensor()[0] > 0, torch.from_numpy(labels).int() - 1
        found = torch.bincount(best, minlength=n_labels).float()
        totals += torch.bincount(best, weights=item.image.as_tensor()[0][inside], minlength=n_labels)
        counts += found
        volumes.append(found * Geometry.of(item.image).voxel_volume_mm3 / 1000)
    table = LabelTable.default(n_labels)
    low, high = plan.window_hu or (0.0, 1.0)
    for number, volume in enumerate(torch.stack(volumes).median(dim=0).values, start=1):
        mean = low + (high - low) * float(totals[number - 1] / counts[number - 1].clamp_min(1))
        table = table.replace(number, mean_intensity=round(mean, 4), volume_ml=round(float(volume), 3))
    own = clusters.tree
    tree = grown(samples, n_labels, seed=seed) if own is None else Hierarchy.of_leaves(own, n_labels)
    tree = tree.described([x.mean_intensity or 0.0 for x in table], [x.volume_ml or 0.0 for x in table])
    return LabelScheme(table, tree), QualityReference.fit(measures, n_labels), first
