"""Everything that a fit has learned, in one frozen object; what can be done with it is in the modules above."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.clustering.cohort import Clusters
from medseg.config import Config
from medseg.errors import ConfigError
from medseg.labels.scheme import LabelScheme
from medseg.labels.suggestions import suggest_missing
from medseg.labels.table import LabelTable
from medseg.model.outputs import Output, requested
from medseg.model.prepare import prepare
from medseg.network.autoencoder import Autoencoder
from medseg.network.training import TrainingRecord
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.pre_transforms import PreTransforms
from medseg.preprocessing.prepare import Prepared
from medseg.quality.anomaly import check_channels
from medseg.quality.reference import QualityReference


@dataclass(frozen=True, repr=False)
class ModelState:
    """What is learned: always fitted, never changed in place.

    Attributes:
        scheme: what the labels are, from the clusters to what people see.
        fingerprints: of the training scans; no path, no name.
        quality: what is usual in the training scans.
        created: UTC time of the fit, ISO 8601.
        own: the user's transforms that every scan goes through first.
    """

    config: Config
    plan: Plan
    network: Autoencoder
    clusters: Clusters
    scheme: LabelScheme
    quality: QualityReference
    fingerprints: tuple[ScanFingerprint, ...]
    record: TrainingRecord
    created: str
    own: PreTransforms = field(default_factory=PreTransforms)

    @property
    def table(self) -> LabelTable:
        """Names, colours and codes of the labels."""
        return self.scheme.table

    @property
    def suggestions(self) -> dict[int, str]:
        """Suggestions for the labels that have no name yet, by number."""
        chosen = self.config.clustering
        return suggest_missing(self.table, modality=self.plan.modality, method=chosen.method,
                               n_clusters=chosen.n_clusters)  # fmt: skip

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.network.parameters()).device

    def prepare(self, image: MetaTensor, foreground: MetaTensor) -> Prepared:
        """A native (C, I, J, K) image, own transforms done, and its (1, I, J, K) foreground made ready for the model.

        Raises:
            InputError: nothing but one intensity in the foreground.
        """
        return prepare(image, foreground, self.plan, self.config.clustering)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when anything changes that labels depend on; names and colours do not count."""
        digest = hashlib.sha256()
        for value in (self.plan, self.config.clustering, self.config.cleanup):
            digest.update(json.dumps(value.model_dump(mode="json"), sort_keys=True).encode())
        digest.update(json.dumps(sorted(self.scheme.merged.items())).encode())
        digest.update(b"" if self.scheme.cut is None else f"cut {self.scheme.cut}".encode())
        digest.update("".join(f"channel {name}" for name in self.config.channels.names).encode())
        digest.update("".join(f"own {name}" for name in self.own.names).encode())
        for name, weight in sorted({**self.network.state_dict(), **self.clusters.tensors()}.items()):
            digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def check(self, outputs: Iterable[str] = ()) -> frozenset[Output]:
        """What was asked for; refuse, before any work, what this model cannot give.

        Raises:
            ConfigError: outputs that are none, fractions of labels finer than the fitted ones, disagreement of one
                network, an anomaly map of channels that have none, or anything without the own transforms that the
                model was fitted with.
        """
        self.own.check()
        wanted = requested(outputs)
        if Output.ANOMALY in wanted:
            check_channels(self.config.channels.names)
        if Output.DISAGREEMENT in wanted and self.config.training.ensemble == 1:
            raise ConfigError("this model is one network, found no others; fit it with training.ensemble=3")
        if Output.FRACTIONS in wanted and self.scheme.is_divided:
            raise ConfigError(
                f"fractions exist for the {self.scheme.n_fitted} fitted labels and unions of them, found "
                f"a cut of {self.scheme.cut}; cut to fewer or leave fractions out"
            )
        return wanted
