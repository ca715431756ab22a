"""The model folder on disk: JSON, safetensors and a colour table; nothing that could run code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from medseg.clustering.cohort import load_clusters
from medseg.clustering.ensemble import Ensemble
from medseg.config import Config
from medseg.io.arrays import load_arrays
from medseg.io.atomic import recover_folder, whole_folder
from medseg.io.label_volumes import write_color_table
from medseg.io.tensors import load_tensors, save_tensors
from medseg.labels.hierarchy import Hierarchy
from medseg.labels.scheme import LabelScheme
from medseg.labels.table import LabelTable
from medseg.model.marker import FORMAT, HIERARCHY, MARKER, damaged, digest_of, read_beside, read_marker
from medseg.model.networks import blank_network
from medseg.model.state import ModelState
from medseg.network.training import TrainingRecord
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.pre_transforms import ArrayTransform, PreTransforms
from medseg.quality.reference import QualityReference
from medseg.runtime.device import choose_device
from medseg.version import __version__

NETWORK, CLUSTERS = "autoencoder.safetensors", "clusters.safetensors"


class _Facts(BaseModel):
    """The content of ``model.json``.

    Attributes:
        tensors: SHA-256 of each file of tensors by its name.
        digest: SHA-256 of all the rest of this file (`digest_of`).
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int
    version: str
    created: str
    seed: int
    config: Config
    plan: Plan
    labels: LabelTable
    merged: dict[int, int]
    training: TrainingRecord
    fingerprints: tuple[ScanFingerprint, ...]
    cut: int | None = None
    quality: QualityReference
    pre_transforms: tuple[str, ...] = ()
    tensors: dict[str, str]
    digest: str = ""


def save_model(model: ModelState, folder: Path) -> None:
    """Write the folder, whole or not at all; an older model there is replaced."""
    written = {NETWORK: model.network.state_dict(), CLUSTERS: model.clusters.tensors(),
               HIERARCHY: {n: torch.from_numpy(x) for n, x in model.scheme.hierarchy.arrays().items()}}  # fmt: skip
    n_bytes = sum(tensor.numel() * tensor.element_size() for part in written.values() for tensor in part.values())
    with whole_folder(folder, marker=MARKER, n_bytes=n_bytes) as temporary:
        digests = {name: save_tensors(tensors, temporary / name) for name, tensors in written.items()}
        values = json.loads(_facts_of(model, digests).model_dump_json())
        write_color_table(model.table, temporary / "labels.ctbl")
        text = json.dumps({**values, "digest": digest_of(values)}, indent=1, ensure_ascii=False)
        (temporary / MARKER).write_text(text + "\n", encoding="utf-8")


def _facts_of(model: ModelState, digests: dict[str, str]) -> _Facts:
    return _Facts(
        format=FORMAT,
        version=__version__,
        created=model.created,
        seed=model.config.training.seed,
        config=model.config,
        plan=model.plan,
        labels=model.table,
        merged=dict(model.scheme.merged),
        training=model.record,
        fingerprints=model.fingerprints,
        cut=model.scheme.cut,
        quality=model.quality,
        pre_transforms=model.own.names,
        tensors=digests,
    )


def load_model(folder: Path, *, device: str = "auto", pre_transforms: Sequence[ArrayTransform] = ()) -> ModelState:
    """Read a folder that `save_model` wrote.

    Args:
        pre_transforms: the own transforms that the model was fitted with, if it was.

    Raises:
        ConfigError: other transforms than those.
        ModelError: no model there, damaged, or of a newer format.
    """
    recover_folder(folder)
    facts = read_marker(folder, _Facts)
    computing = choose_device(device)
    networks = [blank_network(facts.config, facts.plan).to(computing) for _ in range(facts.config.training.ensemble)]
    weights, tensors = (read_beside(folder, name, facts.tensors, load_tensors) for name in (NETWORK, CLUSTERS))
    tree = read_beside(folder, HIERARCHY, facts.tensors, load_arrays)
    try:
        networks[0].load_state_dict(weights)
        chosen = facts.config.clustering
        clusters = (
            load_clusters(tensors, chosen) if len(networks) == 1 else Ensemble.from_tensors(tensors, chosen, networks)
        )
        scheme = LabelScheme(facts.labels, Hierarchy.from_arrays(tree), facts.merged, facts.cut)
        scheme.check()
    except (RuntimeError, LookupError, ValueError, TypeError):
        raise damaged(folder, "the weights belong to another model.json") from None
    return ModelState(
        config=facts.config,
        plan=facts.plan,
        network=networks[0].eval(),
        clusters=clusters,
        scheme=scheme,
        quality=facts.quality,
        fingerprints=facts.fingerprints,
        record=facts.training,
        created=facts.created,
        own=PreTransforms(facts.pre_transforms).with_code(pre_transforms),
    )
