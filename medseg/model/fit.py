"""From scans to a model: fingerprint, plan, tissues, training, label table, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime
from pathlib import Path

import torch

from medseg.brain.make import brain_mask
from medseg.clustering.cohort import Clusters, fit_clusters, n_passes
from medseg.clustering.ensemble import Ensemble
from medseg.config import Config
from medseg.labels.scheme import LabelScheme
from medseg.model.cohort import Cohort, Reading, Source, Watch
from medseg.model.describe import describe_labels
from medseg.model.networks import new_network, noise_of, train_heads
from medseg.model.stability import stability_over_halves
from medseg.model.state import ModelState
from medseg.network.autoencoder import Autoencoder
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.training import Group, Loss, TrainingRecord, train
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.prepare import Prepared
from medseg.quality.reference import QualityReference
from medseg.runtime.cache import Store
from medseg.runtime.counted import Counted, Parts
from medseg.runtime.device import choose_device, memory_gb, seed_everything

GPU_SHARE = 0.25
"""Share of a GPU's memory that training volumes may fill."""


def fit_model(  # noqa: PLR0913, everything about a fit is said here
    scans: Sequence[Source],
    config: Config,
    *,
    reading: Reading | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    objective: Loss = loss,
    cache_bytes: int | None = None,
) -> ModelState:
    """Fit a model to scans without labels.

    Args:
        reading: masks and own transforms of the scans; None: neither.
        checkpoint: folder in which an interrupted training is kept; it resumes when scans and config are the same.
        objective: what training minimises.
        cache_bytes: how much of the scans on the working grid is kept in memory; what is beyond lies in temporary
            files. None: everything in memory.

    Raises:
        InputError: not one scan could be used.
    """
    watch, computing = watch or Watch(), choose_device(device)
    reading = _with_brain_masks(reading or Reading(), config, computing)
    seed_everything(config.training)
    watch.on_stage("reading")
    cohort = Cohort.read(scans, config, reading, watch)
    plan = Plan.fit(cohort.fingerprints, config, memory_gb(computing))
    store = Store(cache_bytes)
    prepared = cohort.prepared(plan, config, reading, watch, store)
    noise = noise_of(prepared)

    def fit_member(number: int) -> tuple[Autoencoder, Clusters, TrainingRecord]:
        chosen = _with_seed(config, number)
        seed = chosen.training.seed
        network = new_network(chosen, plan, prepared, noise).to(computing)
        room = GPU_SHARE * 1e9 * memory_gb(computing)
        patches = PatchSampler(
            prepared, plan, seed, part=Group.current().rank, store=store, device=computing, room_bytes=room
        )
        folder = None if checkpoint is None else checkpoint / _digest(chosen, cohort.fingerprints)
        record = _trained(network, patches, prepared, chosen, folder, watch, objective)
        return network, _clustered(network, prepared, chosen, plan, store, watch), record

    members = [fit_member(number) for number in range(config.training.ensemble)]
    network, clusters, record = members[0]
    if len(members) > 1:
        parts = [member[:2] for member in members]
        clusters = Ensemble.fit(parts, prepared, config.clustering.n_clusters, store)
    scheme, usual = _described(config, plan, network, clusters, prepared, store, watch)
    model = ModelState(
        config=config,
        plan=plan,
        network=network,
        clusters=clusters,
        scheme=scheme,
        quality=usual,
        fingerprints=tuple(cohort.fingerprints),
        record=record,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        own=reading.own,
    )
    watch.on_fitted(model, prepared)
    return model


def _clustered(
    network: Autoencoder, prepared: Sequence[Prepared], config: Config, plan: Plan, store: Store, watch: Watch
) -> Clusters:
    """The clusters of the cohort; nothing is said where they are found in each scan by itself."""
    n_parts = n_passes(config.clustering, plan) * len(prepared)
    if n_parts:
        watch.on_stage("clustering")
    counted = Counted(prepared, Parts(watch.on_part, n_parts))
    return fit_clusters(network, counted, config.clustering, plan, seed=config.training.seed, store=store)


def _described(
    config: Config,
    plan: Plan,
    network: Autoencoder,
    clusters: Clusters,
    prepared: Sequence[Prepared],
    store: Store,
    watch: Watch,
) -> tuple[LabelScheme, QualityReference]:
    """The labels with all that is measured of them, and what is usual in these scans."""
    watch.on_stage("describing")
    counted = Counted(prepared, Parts(watch.on_part, len(prepared)))
    scheme, usual, first = describe_labels(config, plan, network, clusters, counted, store)
    if n_passes(config.clustering, plan) and len(prepared) > 1:
        watch.on_stage("halves")
    stability = stability_over_halves(network, first, prepared, config, plan, store, watch.on_part)
    return scheme.with_stability(stability), usual


def _with_brain_masks(reading: Reading, config: Config, device: torch.device) -> Reading:
    """The same, with brain masks as the config says where nobody else makes them."""
    if reading.made is not None:
        return reading
    found = copy(reading)  # whatever kind of reading it is
    object.__setattr__(found, "made", lambda _scan, image: brain_mask(image, config, device))
    return found


def _trained(
    network: Autoencoder,
    patches: PatchSampler,
    prepared: Sequence[Prepared],
    config: Config,
    checkpoint: Path | None,
    watch: Watch,
    objective: Loss,
) -> TrainingRecord:
    """Train a network and its heads in place."""
    watch.on_stage("training")
    record = train(network, patches, objective, config=config.training, checkpoint=checkpoint, on_step=watch.on_step)
    train_heads(network, prepared, config, on_stage=watch.on_stage, on_step=watch.on_step)
    return record


def _with_seed(config: Config, member: int) -> Config:
    """The config of one member of an ensemble; the first one is drawn as if it were alone."""
    if member == 0:
        return config
    training = config.training.model_copy(update={"seed": config.training.seed + member})
    seed_everything(training)
    return config.model_copy(update={"training": training})


def _digest(config: Config, fingerprints: Sequence[ScanFingerprint]) -> str:
    """Name of the checkpoint that belongs to these scans and settings."""
    text = config.model_dump_json() + "".join(f.model_dump_json() for f in fingerprints)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
