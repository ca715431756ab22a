"""The model folder on disk: JSON, safetensors and a colour table; nothing that could run code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from medseg.clustering.cohort import load_clusters
from medseg.clustering.ensemble import Ensemble
from medseg.config import Config
from medseg.errors import ModelError
from medseg.io.atomic import recover_folder, whole_folder
from medseg.io.label_volumes import write_color_table
from medseg.labels.hierarchy import Hierarchy
from medseg.labels.scheme import LabelScheme
from medseg.labels.table import LabelTable
from medseg.model.networks import blank_network
from medseg.model.state import ModelState
from medseg.network.training import TrainingRecord
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.pre_transforms import ArrayTransform, PreTransforms
from medseg.quality.reference import QualityReference
from medseg.runtime.device import choose_device
from medseg.version import __version__

FORMAT = 1
MARKER = "model.json"


class _Facts(BaseModel):
    """The content of ``model.json``."""

    model_config = ConfigDict(extra="forbid")

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


def save_model(model: ModelState, folder: Path) -> None:
    """Write the folder, whole or not at all; an older model there is replaced."""
    facts = _Facts(
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
    )
    files = {
        "autoencoder.safetensors": _packed(model.network.state_dict()),
        "clusters.safetensors": _packed(model.clusters.tensors()),
        "hierarchy.safetensors": _packed(model.scheme.hierarchy.tensors()),
        MARKER: (facts.model_dump_json(indent=1) + "\n").encode(),
    }
    with whole_folder(folder, marker=MARKER, n_bytes=sum(map(len, files.values()))) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        write_color_table(model.table, temporary / "labels.ctbl")


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def load_model(folder: Path, *, device: str = "auto", pre_transforms: Sequence[ArrayTransform] = ()) -> ModelState:
    """Read a folder that `save_model` wrote.

    Args:
        pre_transforms: the own transforms that the model was fitted with, if it was.

    Raises:
        ConfigError: other transforms than those.
        ModelError: no model there, damaged, or of a newer format.
    """
    recover_folder(folder)
    facts = _read_facts(folder)
    computing = choose_device(device)
    networks = [blank_network(facts.config, facts.plan).to(computing) for _ in range(facts.config.training.ensemble)]
    network = networks[0]
    try:
        network.load_state_dict(load_file(folder / "autoencoder.safetensors"))
        tensors, chosen = load_file(folder / "clusters.safetensors"), facts.config.clustering
        clusters = (
            load_clusters(tensors, chosen) if len(networks) == 1 else Ensemble.from_tensors(tensors, chosen, networks)
        )
        tree = Hierarchy.from_tensors(load_file(folder / "hierarchy.safetensors"))
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError):
        raise ModelError(
            f"{folder}: the weights are missing or damaged, or belong to another model.json; copy the folder again"
        ) from None
    return ModelState(
        config=facts.config,
        plan=facts.plan,
        network=network.eval(),
        clusters=clusters,
        scheme=LabelScheme(facts.labels, tree, facts.merged, facts.cut),
        quality=facts.quality,
        fingerprints=facts.fingerprints,
        record=facts.training,
        created=facts.created,
        own=PreTransforms(facts.pre_transforms).with_code(pre_transforms),
    )


def _read_facts(folder: Path) -> _Facts:
    try:
        values: Any = json.loads((folder / MARKER).read_text("utf-8"))
    except OSError:
        raise ModelError(f"{folder}: found no {MARKER}, expected a model folder that `medseg train` wrote") from None
    except ValueError:
        raise ModelError(f"{folder}: {MARKER} is damaged; copy the folder again") from None
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise ModelError(
            f"{folder}: found model format {found} (medseg {values.get('version')}), this medseg {__version__} reads "
            f"up to {FORMAT}; install a newer medseg"
        )
    try:
        return _Facts.model_validate(values)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ModelError(
            f"{folder}: {MARKER} is damaged ({where}: {error.errors()[0]['msg']}); copy it again"
        ) from None
