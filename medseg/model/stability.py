"""Whether a label would be found again: the clustering repeated on each half of the cohort.

A division that only these scans gave is no finding. Both halves are clustered anew under the same network, one scan of
each half is labelled by all three, and each label is compared with its match by the Jaccard index (clusterwise
stability: Hennig, Computational Statistics & Data Analysis 52:258, 2007). A mean below `STABLE` means that the label
depends on who is in the cohort.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from medseg.clustering.cohort import Clusters, fit_clusters, n_passes
from medseg.clustering.posteriors import Posteriors
from medseg.config import Config
from medseg.errors import InputError
from medseg.evaluation.overlap import confusion
from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from medseg.runtime.counted import Counted, Parts, Told

STABLE = 0.75
"""Least mean Jaccard index of a stable cluster (Hennig 2007; the manual of ``clusterboot``)."""
FEWEST_VOXELS = 1000
"""Of the foreground of a half: fewer are no sample to cluster."""
N_HALVES = 2
MOST_SCANS = 8
"""Of a half: more cost time and say the same."""
Labels = npt.NDArray[np.uint8]


def stability_over_halves(
    network: Autoencoder,
    first: Sequence[Labels],
    prepared: Sequence[Prepared],
    config: Config,
    plan: Plan,
    store: Store,
    told: Told = lambda _done, _total: None,
) -> list[float | None]:
    """Mean Jaccard index of each label with its match, 0 to 1; None for all where there is nothing to halve.

    That is a single scan, halves too small to be clustered, tissues of each scan, which no other scan has a say in, and
    ensembles.

    Args:
        first: `labels_inside` of the first scan of each half, which are the first two, by the clusters of all scans.
    """
    n_labels = config.clustering.n_clusters
    if len(prepared) < 2 or config.clustering.method == "per_scan" or config.training.ensemble > 1:
        return [None] * n_labels
    halves = [list(prepared[start::N_HALVES][:MOST_SCANS]) for start in range(N_HALVES)]
    if any(sum(int(item.foreground.as_tensor().sum()) for item in half) < FEWEST_VOXELS for half in halves):
        return [None] * n_labels
    n_parts = 2 * len(halves) + n_passes(config.clustering, plan) * sum(map(len, halves))
    parts = Parts(told, n_parts)
    looked_at, found = Counted([half[0] for half in halves], parts), []
    for half in halves:
        try:
            counted, seed = Counted(half, parts), config.training.seed
            again = fit_clusters(network, counted, config.clustering, plan, seed=seed, store=store)
        except InputError:  # the half has nothing that this kind of labels is made of, such as soft tissue
            return [None] * n_labels
        found.append(matched_jaccard(first, labels_of(network, again, looked_at, store), n_labels))
    return [round(float(value), 3) for value in np.mean(found, axis=0)]


def labels_of(
    network: Autoencoder, clusters: Clusters, prepared: Sequence[Prepared], store: Store | None = None
) -> list[Labels]:
    """(V,) labels of each scan's foreground voxels on the working grid."""
    return [labels_inside(clusters.posteriors(network, item, store), item) for item in prepared]


def labels_inside(posteriors: Posteriors, prepared: Prepared) -> Labels:
    """(V,) best labels, from 1, of the V foreground voxels of the working grid."""
    places = prepared.foreground.as_tensor().flatten().nonzero()[:, 0]
    best = posteriors.scores.as_tensor().flatten(1)[:, places].argmax(dim=0) + 1
    return np.asarray(best.cpu().numpy().astype(np.uint8))


def matched_jaccard(first: Sequence[Labels], second: Sequence[Labels], n_labels: int) -> npt.NDArray[np.float64]:
    """(n_labels,) Jaccard index over all scans of each label of `first` with its match in `second`.

    Matched one to one so that their sum is largest (Kuhn, "The Hungarian method", 1955); 1 for a label that
    neither has, so that an empty label is not unstable.
    """
    one, two = np.concatenate(first), np.concatenate(second)
    table = confusion(one, two, np.ones(one.shape, dtype=bool), n_labels + 1, n_labels + 1)[1:, 1:]
    union = table.sum(1)[:, None] + table.sum(0)[None] - table
    jaccard = np.where(union > 0, table / np.maximum(union, 1), 1.0)
    rows, columns = linear_sum_assignment(-jaccard)
    return np.asarray(jaccard[rows, columns], dtype=np.float64)
