"""An ensemble: networks of other seeds that decide together, and where they disagree.

Every member labels a scan by itself; its labels are matched one to one to those of the first member, so that their
overlap in the training scans is largest (Kuhn, "The Hungarian method", Naval Research Logistics 2:83, 1955). The
consensus is the mean of the members' scores: of the posteriors of clusters of a cohort, of the denoised intensities
and tissue means of tissues of a scan. Members work one after the other, and of each only sums and labels are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from medseg.clustering.cohort import Clusters, load_clusters
from medseg.clustering.mixture import Features
from medseg.clustering.per_scan import ScanTissues
from medseg.clustering.posteriors import ClusterPosteriors, IntervalPosteriors, Posteriors, moved
from medseg.clustering.tree import LeafTree
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store
from medseg.spatial.chunks import filled_slabs
from medseg.spatial.extrapolate import continued
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

ONE = 255
SLAB_VOXELS = 20_000_000


class Member(NamedTuple):
    """A network with its clusters; ``order[k]`` is its label (from 0) that goes by number k in the ensemble."""

    network: Autoencoder
    clusters: Clusters
    order: tuple[int, ...]


@dataclass(frozen=True)
class EnsemblePosteriors:
    """The posteriors of all members together: their consensus.

    Attributes:
        mean: what they say on average.
        disagreement: (1, I, J, K) share of the members whose label is not the consensus's, on the working grid.
    """

    mean: Posteriors
    disagreement: MetaTensor

    @property
    def scores(self) -> MetaTensor:
        """(K, I, J, K) on the working grid; the best one is the label."""
        return self.mean.scores

    @property
    def leaves(self) -> MetaTensor | None:
        """Those of the first member."""
        return self.mean.leaves

    def on(self, device: torch.device) -> EnsemblePosteriors:
        """The same on another device."""
        return EnsemblePosteriors(self.mean.on(device), moved(self.disagreement, device))

    def probabilities(self, grid: Geometry) -> Tensor:
        """(K, *grid.shape) that sum to one."""
        return self.mean.probabilities(grid)

    def up_to(self, number: int, grid: Geometry) -> Tensor:
        """(*grid.shape) fractions of the labels 1..number together."""
        return self.mean.up_to(number, grid)

    def features(self) -> Features:
        """(V, F); of clusters of a cohort those of the first member."""
        return self.mean.features()


@dataclass(frozen=True)
class Ensemble:
    """Clusters that several members agree upon; the first one is that of the model's own network."""

    members: tuple[Member, ...]

    @property
    def tree(self) -> LeafTree | None:
        """That of the first member, whose numbers the labels have."""
        return self.members[0].clusters.tree

    @classmethod
    def fit(
        cls, parts: Sequence[tuple[Autoencoder, Clusters]], prepared: Sequence[Prepared], n_labels: int, store: Store
    ) -> Ensemble:
        """Match the labels of the members on the training scans."""
        overlaps = np.zeros((len(parts), n_labels, n_labels))
        # Tissues of a scan ascend in intensity, in every member.
        is_ordered = isinstance(parts[0][1], ScanTissues)
        for item in prepared if not is_ordered else ():
            inside = item.foreground.as_tensor()[0] > 0
            labels = [
                _best(clusters.posteriors(network, item, store).scores)[inside].long() for network, clusters in parts
            ]
            pairs = [torch.bincount(labels[0] * n_labels + label, minlength=n_labels**2) for label in labels]
            overlaps += torch.stack(pairs).view(overlaps.shape).cpu().numpy()
        orders = [range(n_labels) if is_ordered else linear_sum_assignment(-table)[1] for table in overlaps]
        return cls(tuple(Member(*part, tuple(map(int, order))) for part, order in zip(parts, orders, strict=True)))

    def posteriors(
        self,
        network: Autoencoder,  # noqa: ARG002 - each member has its own
        prepared: Prepared,
        store: Store | None = None,
    ) -> EnsemblePosteriors:
        """The mean of the members' posteriors, and where their labels differ from its labels."""
        votes: list[Tensor] = []

        def found() -> Iterator[Posteriors]:
            for member in self.members:
                posteriors = member.clusters.posteriors(member.network, prepared, store)
                votes.append(_best(_reordered(posteriors, member.order).scores))
                yield _reordered(posteriors, member.order)

        mean = _mean(found(), len(self.members))
        best = _best(mean.scores)
        share = torch.stack([(vote != best).float() for vote in votes]).mean(dim=0)[None]
        return EnsemblePosteriors(mean, continued(MetaTensor(share, affine=prepared.image.affine), prepared.foreground))

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the first network, which is the model's."""
        found: dict[str, Tensor] = {}
        for number, member in enumerate(self.members):
            found |= {f"{number}.clusters.{name}": value for name, value in member.clusters.tensors().items()}
            found[f"{number}.order"] = torch.tensor(member.order)
            if number > 0:
                found |= {f"{number}.network.{name}": value for name, value in member.network.state_dict().items()}
        return found

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], config: ClusteringConfig, networks: Sequence[Autoencoder]
    ) -> Ensemble:
        """The inverse of `tensors`.

        Args:
            networks: one for each member; the first one is the model's, the others are filled here.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: the networks have another shape.
        """
        members = []
        for number, network in enumerate(networks):
            if number > 0:
                network.load_state_dict(_below(tensors, f"{number}.network."))
            order = tuple(int(n) for n in tensors[f"{number}.order"])
            clusters = load_clusters(_below(tensors, f"{number}.clusters."), config)
            members.append(Member(network.eval(), clusters, order))
        return cls(tuple(members))


def disagreement_on(
    geometry: Geometry, consensus: EnsemblePosteriors, labels: npt.NDArray[np.unsignedinteger]
) -> npt.NDArray[np.uint8]:
    """(I, J, K) share of the members that disagree with the consensus, 255 for 1; 0 where there is no label."""
    found = np.zeros(geometry.shape, dtype=np.uint8)
    for place, grid in filled_slabs(geometry, labels, 1, SLAB_VOXELS):
        share = resample(consensus.disagreement, grid).as_tensor()[0].clamp(0, 1).cpu().numpy()
        found[place] = np.where(labels[place] > 0, np.rint(share * ONE), 0).astype(np.uint8)
    return found


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _best(scores: MetaTensor) -> Tensor:
    """(I, J, K) labels from 0."""
    return scores.as_tensor().argmax(dim=0).to(torch.uint8)


def _reordered(posteriors: Posteriors, order: Sequence[int]) -> Posteriors:
    """Posteriors under the ensemble's numbers; intervals ascend in every member."""
    if not isinstance(posteriors, ClusterPosteriors) or list(order) == list(range(len(order))):
        return posteriors
    scores = posteriors.scores.as_tensor()[list(order)]
    return replace(posteriors, scores=MetaTensor(scores, affine=posteriors.scores.affine))


def _mean(parts: Iterable[Posteriors], n_parts: int) -> Posteriors:
    """Mean posteriors of members that come one after the other."""
    rest = iter(parts)
    first = next(rest)
    if isinstance(first, IntervalPosteriors):
        return _mean_intervals(first, rest, n_parts)
    if not isinstance(first, ClusterPosteriors):
        raise TypeError(f"expected intervals or posteriors, found {type(first).__name__}")
    total = first.scores.as_tensor() / n_parts
    for part in rest:
        total += part.scores.as_tensor() / n_parts
    return replace(first, scores=MetaTensor(total, affine=first.scores.affine))


def _mean_intervals(first: IntervalPosteriors, rest: Iterable[Posteriors], n_parts: int) -> IntervalPosteriors:
    """Mean intensity and means of the tissues; the spread of the members adds to the noise (law of total variance)."""

    def terms(part: Posteriors) -> tuple[Tensor, Tensor, npt.NDArray[np.float64]]:
        if not isinstance(part, IntervalPosteriors):
            raise TypeError(f"expected intervals, found {type(part).__name__}")
        u, sd = part.intensity.as_tensor(), part.sd.as_tensor()
        return u / n_parts, (sd**2 + u**2) / n_parts, part.means / n_parts

    u, square, means = terms(first)
    for part in rest:
        more = terms(part)
        u, square, means = u + more[0], square + more[1], means + more[2]
    affine = first.intensity.affine
    sd = (square - u**2).clamp_min(0).sqrt()
    return replace(first, intensity=MetaTensor(u, affine=affine), sd=MetaTensor(sd, affine=affine), means=means)
