"""Habitats: clusters inside given regions over a whole cohort, and whether each of them would be found again.

Every labelled voxel set depends on the seed and on who is in the cohort. So the clustering is repeated with other
seeds (network and clusters fitted anew) and on bootstrap samples of the cases (clusters fitted anew), every case is
labelled again, and each habitat is compared with its match by the Jaccard index, voxel by voxel over all cases
(clusterwise stability: Hennig, Computational Statistics & Data Analysis 52:258, 2007, as ``clusterboot`` of the R
package fpc; matched one to one here, and over all cases rather than the drawn ones, which is stricter). A mean below
`STABLE` means that the habitat is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from medseg.clustering.cohort import Clusters, fit_clusters
from medseg.evaluation.overlap import confusion
from medseg.model.networks import new_network, train_heads
from medseg.model.state import ModelState
from medseg.network.autoencoder import Autoencoder
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.training import train
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.device import seed_everything

STABLE = 0.75
"""Least mean Jaccard index of a stable cluster (Hennig 2007; the manual of ``clusterboot``)."""
Labels = npt.NDArray[np.uint8]
OnRound = Callable[[int], None]


@dataclass(frozen=True)
class Stability:
    """Mean Jaccard index of one habitat with its match; None where it was not tried.

    Attributes:
        share: of all voxels.
        n_cases: cases in which the habitat occurs.
    """

    number: int
    share: float
    n_cases: int
    over_seeds: float | None
    over_cases: float | None

    @property
    def verdict(self) -> str:
        """``stable``, ``unstable``, ``empty`` (no case has it), or ``unknown`` when too little was tried to tell."""
        if self.n_cases == 0:
            return "empty"
        tried = [value for value in (self.over_seeds, self.over_cases) if value is not None]
        if any(value < STABLE for value in tried):
            return "unstable"
        return "stable" if len(tried) == 2 else "unknown"


def habitat_stability(
    model: ModelState, prepared: Sequence[Prepared], on_round: OnRound = lambda _done: None
) -> list[Stability]:
    """Repeat the clustering of the cases `prepared`, which the model was fitted on, as the config says.

    With a single case the bootstrap has nothing to draw from, and `over_cases` is None.
    """
    chosen, seed = model.config.habitats, model.config.training.seed
    n_rounds, n_labels = n_rounds_of(model, len(prepared)), model.config.clustering.n_clusters
    first = labels_of(model.network, model.clusters, prepared)
    over_seeds, over_cases = [], []
    for done in range(n_rounds):
        if done < chosen.n_seeds:
            network = retrained(model, prepared, seed + 1 + done)
            clusters = fit_clusters(network, prepared, model.config.clustering, model.plan, seed=seed + 1 + done)
            over_seeds.append(matched_jaccard(first, labels_of(network, clusters, prepared), n_labels))
        else:
            drawn = np.random.default_rng((seed, done)).integers(len(prepared), size=len(prepared))
            clusters = fit_clusters(
                model.network, [prepared[n] for n in drawn], model.config.clustering, model.plan, seed=seed
            )
            over_cases.append(matched_jaccard(first, labels_of(model.network, clusters, prepared), n_labels))
        on_round(done + 1)
    return [
        Stability(
            number,
            float((np.concatenate(first) == number).mean()),
            sum(bool((labels == number).any()) for labels in first),
            _mean(over_seeds, number),
            _mean(over_cases, number),
        )
        for number in range(1, n_labels + 1)
    ]


def n_rounds_of(model: ModelState, n_cases: int) -> int:
    """How often the clustering is repeated; a single case leaves nothing to draw from."""
    chosen = model.config.habitats
    return chosen.n_seeds + (chosen.n_bootstraps if n_cases > 1 else 0)


def _mean(rounds: Sequence[npt.NDArray[np.float64]], number: int) -> float | None:
    return float(np.mean([jaccard[number - 1] for jaccard in rounds])) if rounds else None


def labels_of(network: Autoencoder, clusters: Clusters, prepared: Sequence[Prepared]) -> list[Labels]:
    """(V,) labels of each case's voxels inside its region, on the working grid."""
    found = []
    for item in prepared:
        best = clusters.posteriors(network, item).scores.as_tensor().argmax(dim=0) + 1
        found.append(best[item.foreground.as_tensor()[0] > 0].cpu().numpy().astype(np.uint8))
    return found


def matched_jaccard(first: Sequence[Labels], second: Sequence[Labels], n_labels: int) -> npt.NDArray[np.float64]:
    """(n_labels,) Jaccard index over all cases of each label of `first` with its match in `second`.

    Matched one to one so that their sum is largest (Kuhn, "The Hungarian method", 1955); 1 for a label that
    neither has, so that an empty habitat is not unstable.
    """
    one, two = np.concatenate(first), np.concatenate(second)
    table = confusion(one, two, np.ones(one.shape, dtype=bool), n_labels + 1, n_labels + 1)[1:, 1:]
    union = table.sum(1)[:, None] + table.sum(0)[None] - table
    jaccard = np.where(union > 0, table / np.maximum(union, 1), 1.0)
    rows, columns = linear_sum_assignment(-jaccard)
    return np.asarray(jaccard[rows, columns], dtype=np.float64)


def retrained(model: ModelState, prepared: Sequence[Prepared], seed: int) -> Autoencoder:
    """A network fitted to the same cases from another seed."""
    config = model.config.training.model_copy(update={"seed": seed})
    seed_everything(config)
    noise = (model.network.noise * model.network.scale).tolist()
    network = new_network(model.config, model.plan, prepared, noise)
    train(network.to(model.device), PatchSampler(prepared, model.plan, seed, device=model.device), loss, config=config)
    train_heads(network, prepared, model.config.model_copy(update={"training": config}))
    return network
