"""What each piece is worth: medseg with one piece taken out, and the obvious design in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor
from torch.nn import functional

from benchmarks import ours, plain
from benchmarks.scoring import Row
from benchmarks.sets import Part
from medseg.clustering.per_scan import ScanTissues
from medseg.clustering.posteriors import IntervalPosteriors
from medseg.config import ClusteringConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.tiled_inference import embed
from medseg.preprocessing.prepare import Prepared
from medseg.runtime.cache import Store

Denoise = Callable[[Autoencoder, Prepared], MetaTensor]


@dataclass(frozen=True)
class Tissues:
    """`ScanTissues` with another way to the noise-free intensity."""

    config: ClusteringConfig
    denoise: Denoise

    @property
    def tree(self) -> None:
        """As `ScanTissues`."""

    def posteriors(
        self,
        network: Autoencoder,
        prepared: Prepared,
        store: Store | None = None,  # noqa: ARG002
    ) -> IntervalPosteriors:
        """The intervals, of an intensity taken to be free of noise."""
        mean = self.denoise(network, prepared)
        noise_free = MetaTensor(torch.zeros_like(mean.as_tensor()), affine=mean.affine)
        return ScanTissues(self.config).posteriors_of(mean, prepared.foreground, noise_free)

    def tensors(self) -> dict[str, Tensor]:
        """Nothing is learned but the network."""
        return {}


def observed(_network: Autoencoder, prepared: Prepared) -> MetaTensor:
    """No context at all: the intensity as it was measured."""
    return prepared.network_image


def context_alone(network: Autoencoder, prepared: Prepared) -> MetaTensor:
    """What the surroundings predict: a voxel said to be nothing but noise has no say."""
    return embed(network, prepared.network_image, prepared.foreground, noise=1e3).mean


def squared_error(network: Autoencoder, patches: Tensor, inside: Tensor, _generator: torch.Generator) -> Tensor:
    """Squared error of the mean that the surroundings predict."""
    return _error(network, patches, inside, functional.mse_loss)


def absolute_error(network: Autoencoder, patches: Tensor, inside: Tensor, _generator: torch.Generator) -> Tensor:
    """Absolute error of the mean that the surroundings predict."""
    return _error(network, patches, inside, functional.l1_loss)


def _error(network: Autoencoder, patches: Tensor, inside: Tensor, distance: Callable[..., Tensor]) -> Tensor:
    standardised = network.standardise(patches, inside)
    prior = network(torch.cat([standardised, inside], dim=1)).float().exp()
    errors = distance(prior @ network.means, standardised.flatten(), reduction="none")
    return (errors * inside.flatten()).sum() / inside.sum().clamp_min(1)


def run_brain(part: Part, out: Path, seed: int) -> Iterator[Row]:
    """The ablation of a part whose tissues are found in each scan."""

    def with_denoise(denoise: Denoise) -> ours.Change:
        return lambda model: replace(model, clusters=Tissues(model.config.clustering, denoise))

    one_step = ("training.max_steps=1",)
    yield ours.run(part, out, seed, one_step, method="without network", change=with_denoise(observed))
    yield ours.run(part, out, seed, method="context alone", change=with_denoise(context_alone))
    yield ours.run(part, out, seed, ("clustering.local_sigma_mm=null",), method="without local means")
    flat = ("clustering.bias_sigma_mm=null", "clustering.local_sigma_mm=null")
    yield ours.run(part, out, seed, flat, method="without bias field and local means")
    cohort = ("clustering.method=cohort", "clustering.bias_sigma_mm=null")
    yield ours.run(part, out, seed, cohort, method="without case adaptation and bias field")
    yield ours.run(part, out, seed, method="squared error", objective=squared_error)
    yield ours.run(part, out, seed, method="absolute error", objective=absolute_error)
    yield plain.run(part, seed)


def run_cohort(part: Part, out: Path, seed: int) -> Iterator[Row]:
    """The ablation of a part whose clusters are those of the whole cohort."""
    one_step = ("training.max_steps=1",)
    yield ours.run(part, out, seed, one_step, method="untrained network")
    yield ours.run(part, out, seed, ("clustering.method=mixture",), method="mixture of voxels")
    yield ours.run(part, out, seed, ("clustering.mrf_weight=0",), method="without smoothing of posteriors")
    yield ours.run(part, out, seed, method="squared error", objective=squared_error)
    yield plain.run(part, seed)


def run(part: Part, out: Path, seed: int) -> Iterator[Row]:
    """All rows of the ablation of one part, `Model` whole excepted."""
    in_each_scan = part.config == "brain_t1"
    return (run_brain if in_each_scan else run_cohort)(part, out, seed)
