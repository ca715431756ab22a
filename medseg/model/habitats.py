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

from medseg.clustering.cohort import fit_clusters
from medseg.model.networks import new_network, train_heads
from medseg.model.stability import STABLE, labels_of, matched_jaccard
from medseg.model.state import ModelState
from medseg.network.autoencoder import Autoencoder
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.training import train
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.device import seed_everything

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


def retrained(model: ModelState, prepared: Sequence[Prepared], seed: int) -> Autoencoder:
    """A network fitted to the same cases from another seed."""
    config = model.config.training.model_copy(update={"seed": seed})
    seed_everything(config)
    noise = (model.network.noise * model.network.scale).tolist()
    network = new_network(model.config, model.plan, prepared, noise)
    train(network.to(model.device), PatchSampler(prepared, model.plan, seed, device=model.device), loss, config=config)
    train_heads(network, prepared, model.config.model_copy(update={"training": config}))
    return network
