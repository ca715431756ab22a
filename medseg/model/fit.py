"""From scans to a model: fingerprint, plan, tissues, training, label table, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.clustering.cohort import Clusters, fit_clusters
from medseg.clustering.ensemble import Ensemble
from medseg.clustering.mixture import spread_centres
from medseg.clustering.per_scan import normalise
from medseg.config import Config
from medseg.errors import InputError
from medseg.io.read import read_mask, read_scan
from medseg.io.scan import Scan
from medseg.labels.description import Description, Sample
from medseg.labels.hierarchy import N_SAMPLES, Hierarchy
from medseg.labels.scheme import LabelScheme
from medseg.labels.table import LabelTable
from medseg.model.state import ModelState
from medseg.network.autoencoder import Autoencoder
from medseg.network.context import ContextEncoder
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.tiled_inference import white_noise
from medseg.network.training import Group, Loss, TrainingRecord, train
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.pre_transforms import OwnTransforms
from medseg.preprocessing.prepare import Prepared, channels_of, check_channels
from medseg.quality.metrics import measure
from medseg.quality.reference import QualityReference
from medseg.runtime.cache import Store
from medseg.runtime.device import choose_device, memory_gb, seed_everything
from medseg.spatial.geometry import Geometry

Source = Scan | Path | str | MetaTensor
GPU_SHARE = 0.25
"""Share of a GPU's memory that training volumes may fill."""


@dataclass(frozen=True)
class Watch:
    """What a caller wants to hear of while a model is fitted; the library itself prints nothing."""

    on_scan: Callable[[int, int], None] = lambda _done, _total: None
    on_refused: Callable[[Source, InputError], None] = lambda _scan, _error: None
    on_step: Callable[[int, int, float], None] = lambda _done, _most, _loss: None
    on_stage: Callable[[str], None] = lambda _stage: None
    on_fitted: Callable[[ModelState, Sequence[Prepared]], None] = lambda _model, _normalised: None


@dataclass(frozen=True)
class Reading:
    """How a scan becomes an image and its mask.

    Attributes:
        masks: path of the mask of a scan, or None; may raise `InputError` for a scan that must have one.
        own: what is done to each image first.
    """

    masks: Callable[[Source], Path | None] = lambda _scan: None
    own: OwnTransforms = field(default_factory=OwnTransforms)

    def __call__(self, scan: Source) -> tuple[MetaTensor, MetaTensor | None]:
        """The (C, I, J, K) image, and the mask when there is one."""
        image = self.own(scan if isinstance(scan, MetaTensor) else read_scan(scan))
        path = self.masks(scan)
        return image, None if path is None else read_mask(path, Geometry.of(image))


@dataclass
class _Cohort:
    used: list[Source] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)
    fingerprints: list[ScanFingerprint] = field(default_factory=list)


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
    watch, reading = watch or Watch(), reading or Reading()
    seed_everything(config.training)
    computing = choose_device(device)
    watch.on_stage("reading")
    cohort = _read_fingerprints(scans, config, reading, watch)
    plan = Plan.fit(cohort.fingerprints, config, memory_gb(computing))
    store = Store(cache_bytes)
    _prepare(cohort, plan, reading, watch, store)
    normalised = [_kept(normalise(item, config.clustering), store) for item in cohort.prepared]
    noise = _noise_of(normalised)

    def fit_member(number: int) -> tuple[Autoencoder, Clusters, TrainingRecord]:
        chosen = _with_seed(config, number)
        seed = chosen.training.seed
        network = new_network(chosen, plan, normalised, noise).to(computing)
        watch.on_stage("training")
        room = GPU_SHARE * 1e9 * memory_gb(computing)
        patches = PatchSampler(
            normalised,
            plan,
            seed,
            part=Group.current().rank,
            store=store,
            device=computing,
            room_bytes=room,
            flip=network.context is None,
        )
        kept = None if checkpoint is None else checkpoint / _digest(chosen, cohort.fingerprints)
        record = train(network, patches, objective, config=chosen.training, checkpoint=kept, on_step=watch.on_step)
        watch.on_stage("clustering")
        return network, fit_clusters(network, cohort.prepared, config.clustering, plan, seed=seed, store=store), record

    members = [fit_member(number) for number in range(config.training.ensemble)]
    network, clusters, record = members[0]
    if len(members) > 1:
        parts = [member[:2] for member in members]
        clusters = Ensemble.fit(parts, cohort.prepared, normalised, config.clustering.n_clusters)
    watch.on_stage("describing")
    scheme, usual = describe_labels(config, plan, network, clusters, cohort.prepared, normalised)
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
    watch.on_fitted(model, normalised)
    return model


def _with_seed(config: Config, member: int) -> Config:
    """The config of one member of an ensemble; the first one is drawn as if it were alone."""
    if member == 0:
        return config
    training = config.training.model_copy(update={"seed": config.training.seed + member})
    seed_everything(training)
    return config.model_copy(update={"training": training})


def new_network(
    config: Config, plan: Plan, normalised: Sequence[Prepared], noise: float | Sequence[float]
) -> Autoencoder:
    """An untrained network that starts from the cohort's intensities."""
    network = Autoencoder(config.autoencoder, plan.channels, config.channels.n_channels, context_of(config, plan))
    k, intensities = config.autoencoder.n_components, sample_intensities(normalised)
    start = None if network.n_inputs == 1 else (lambda rows: spread_centres(rows, k))
    network.start_from(intensities, noise, start)
    if isinstance(network.context, ContextEncoder):
        network.context.start_from(intensities, plan.spacing_mm)
    return network


def context_of(config: Config, plan: Plan) -> ContextEncoder | None:
    """The context encoder of a network, where labels make use of it: regions of CT cohorts."""
    wanted = config.autoencoder.context and config.clustering.tissues == "cohort" and plan.window_hu is not None
    return ContextEncoder(config.channels.n_channels) if wanted else None


def _read_fingerprints(scans: Sequence[Source], config: Config, reading: Reading, watch: Watch) -> _Cohort:
    """Read every scan once; those that cannot be used are told to `watch` and left out."""
    cohort = _Cohort()
    for n_done, scan in enumerate(scans, start=1):
        try:
            image, mask = reading(scan)
            check_channels(image, config.channels)
            foreground = foreground_of(image, mask, config.preprocessing.foreground)
            modality = scan.modality if isinstance(scan, Scan) else ""
            cohort.fingerprints.append(ScanFingerprint.of(channels_of(image)[0], foreground, modality))
            cohort.used.append(scan)
        except InputError as error:
            watch.on_refused(scan, error)
        watch.on_scan(n_done, 2 * len(scans))
    if not cohort.used:
        raise InputError("none of the scans can be used for training; `medseg inspect` says why", code="no_scans")
    return cohort


def _prepare(cohort: _Cohort, plan: Plan, reading: Reading, watch: Watch, store: Store) -> None:
    """Read the usable scans once more and bring them to the working grid."""
    n_scans = len(cohort.used)
    for n_done, scan in enumerate(cohort.used, start=1):
        image, mask = reading(scan)
        cohort.prepared.append(_kept(plan.prepare(image, plan.foreground_of(image, mask)), store))
        watch.on_scan(n_scans + n_done, 2 * n_scans)


def _kept(prepared: Prepared, store: Store) -> Prepared:
    return Prepared(store.image(prepared.image), store.image(prepared.foreground))


def sample_intensities(prepared: Sequence[Prepared], n_values: int = 200_000) -> torch.Tensor:
    """(V,) foreground intensities, (V, C) of several channels; the same number of every scan."""
    parts = []
    for item in prepared:
        values = item.image.as_tensor()[:, item.foreground.as_tensor()[0] > 0].T
        parts.append(values[:: max(1, len(values) * len(prepared) // n_values)])
    rows = torch.cat(parts)
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _noise_of(normalised: Sequence[Prepared]) -> float | list[float]:
    """Median white noise of the scans, in each channel."""
    found = np.median([[white_noise(x, item.foreground) for x in channels_of(item.image)] for item in normalised], 0)
    return float(found[0]) if len(found) == 1 else [float(noise) for noise in found]


def _digest(config: Config, fingerprints: Sequence[ScanFingerprint]) -> str:
    """Name of the checkpoint that belongs to these scans and settings."""
    text = config.model_dump_json() + "".join(f.model_dump_json() for f in fingerprints)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe_labels(
    config: Config,
    plan: Plan,
    network: Autoencoder,
    clusters: Clusters,
    prepared: Sequence[Prepared],
    normalised: Sequence[Prepared],
) -> tuple[LabelScheme, QualityReference]:
    """Each label's mean intensity and median volume, the tree over the labels, and what is usual in these scans.

    Args:
        prepared: the training scans on the working grid.
        normalised: the same as the network sees them.
    """
    chosen, seed, n_labels = config.clustering, config.training.seed, config.clustering.n_clusters
    volumes, totals, counts = [], torch.zeros(n_labels), torch.zeros(n_labels)
    samples, measures = [], []
    for item, seen in zip(prepared, normalised, strict=True):
        evidence = clusters.evidence(network, item, seen)
        scores = evidence.scores
        measures.append(measure(network, item, seen, evidence))
        best = scores.as_tensor().argmax(dim=0)
        if clusters.tree is None:
            description = Description.of(evidence, item, chosen.surroundings_mm)
            samples.append(Sample.of(description, best, item, max(1, N_SAMPLES // len(prepared)), seed))
        inside = item.foreground.as_tensor()[0] > 0
        found = torch.bincount(best[inside], minlength=n_labels).float()
        totals += torch.bincount(best[inside], weights=item.image.as_tensor()[0][inside], minlength=n_labels)
        counts += found
        volumes.append(found * Geometry.of(item.image).voxel_volume_mm3 / 1000)
    table = LabelTable.default(n_labels)
    low, high = plan.window_hu or (0.0, 1.0)
    for number, volume in enumerate(torch.stack(volumes).median(dim=0).values, start=1):
        mean = low + (high - low) * float(totals[number - 1] / counts[number - 1].clamp_min(1))
        table = table.replace(number, mean_intensity=round(mean, 4), volume_ml=round(float(volume), 3))
    grown = clusters.tree
    tree = Hierarchy.fit(samples, n_labels, seed=seed) if grown is None else Hierarchy.of_leaves(grown, n_labels)
    tree = tree.described([x.mean_intensity or 0.0 for x in table], [x.volume_ml or 0.0 for x in table])
    return LabelScheme(table, tree), QualityReference.fit(measures, n_labels)
