"""From scans to a model: fingerprint, plan, tissues, training, label table, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from monai.data.meta_tensor import MetaTensor

from medseg.clustering.cohort import Clusters, fit_clusters
from medseg.clustering.ensemble import Ensemble
from medseg.config import Config
from medseg.errors import InputError
from medseg.io.read import read_mask, read_scan
from medseg.io.scan import Scan
from medseg.model.describe import describe_labels
from medseg.model.networks import new_network, noise_of, train_heads
from medseg.model.prepare import prepare
from medseg.model.stability import stability_over_halves
from medseg.model.state import ModelState
from medseg.network.autoencoder import Autoencoder
from medseg.network.loss import loss
from medseg.network.patches import PatchSampler
from medseg.network.training import Group, Loss, TrainingRecord, train
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.plan import Plan, commonest_modality, other_modality
from medseg.preprocessing.pre_transforms import PreTransforms
from medseg.preprocessing.prepare import Prepared, channels_of, check_channels
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
    on_fitted: Callable[[ModelState, Sequence[Prepared]], None] = lambda _model, _prepared: None


@dataclass(frozen=True)
class Reading:
    """How a scan becomes an image and its mask.

    Attributes:
        masks: path of the mask of a scan, or None; may raise `InputError` for a scan that must have one.
        own: what is done to each image first.
    """

    masks: Callable[[Source], Path | None] = lambda _scan: None
    own: PreTransforms = field(default_factory=PreTransforms)

    def __call__(self, scan: Source) -> tuple[MetaTensor, MetaTensor | None]:
        """The (C, I, J, K) image, and the mask when there is one."""
        image = self.own(scan if isinstance(scan, MetaTensor) else read_scan(scan))
        path = self.masks(scan)
        return image, None if path is None else read_mask(path, Geometry.of(image))


@dataclass
class _Cohort:
    used: list[Source] = field(default_factory=list)
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
    _keep_one_modality(cohort, config, watch)
    plan = Plan.fit(cohort.fingerprints, config, memory_gb(computing))
    store = Store(cache_bytes)
    prepared = _prepare(cohort.used, plan, config, reading, watch, store)
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
        watch.on_stage("clustering")
        return network, fit_clusters(network, prepared, config.clustering, plan, seed=seed, store=store), record

    members = [fit_member(number) for number in range(config.training.ensemble)]
    network, clusters, record = members[0]
    if len(members) > 1:
        parts = [member[:2] for member in members]
        clusters = Ensemble.fit(parts, prepared, config.clustering.n_clusters)
    watch.on_stage("describing")
    stability = stability_over_halves(network, clusters, prepared, config, plan)
    scheme, usual = describe_labels(config, plan, network, clusters, prepared, stability)
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


def _keep_one_modality(cohort: _Cohort, config: Config, watch: Watch) -> None:
    """Leave out the scans of the rarer modality, and tell `watch`: one model serves one of them."""
    commoner = commonest_modality(cohort.fingerprints)
    other = [number for number, found in enumerate(cohort.fingerprints) if found.modality != commoner]
    if config.preprocessing.modality != "auto" or not other:
        return
    n_kept = len(cohort.used) - len(other)
    for number in reversed(other):
        found = cohort.fingerprints.pop(number).modality
        watch.on_refused(cohort.used.pop(number), other_modality(found, f"{commoner} as the {n_kept} others"))


def _prepare(
    scans: Sequence[Source], plan: Plan, config: Config, reading: Reading, watch: Watch, store: Store
) -> list[Prepared]:
    """Read the usable scans once more and bring them to the working grid."""
    found = []
    for n_done, scan in enumerate(scans, start=1):
        image, mask = reading(scan)
        found.append(kept(prepare(image, plan.foreground_of(image, mask), plan, config.clustering), store))
        watch.on_scan(len(scans) + n_done, 2 * len(scans))
    return found


def kept(prepared: Prepared, store: Store) -> Prepared:
    """The same tensors, each kept once."""
    image, foreground = store.image(prepared.image), store.image(prepared.foreground)
    is_same = prepared.network_image is prepared.image
    return Prepared(image, foreground, image if is_same else store.image(prepared.network_image))


def _digest(config: Config, fingerprints: Sequence[ScanFingerprint]) -> str:
    """Name of the checkpoint that belongs to these scans and settings."""
    text = config.model_dump_json() + "".join(f.model_dump_json() for f in fingerprints)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
