"""`medseg train`: a model folder from a directory of scans, with progress, resumed after an interruption."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from monai.data.meta_tensor import MetaTensor

from medseg.batch.masks import mask_of
from medseg.batch.outputs import Job, check_writable
from medseg.batch.progress import Bar, be_silent, say
from medseg.batch.resources import available_memory
from medseg.cli.train_events import Events
from medseg.config import Config
from medseg.errors import ConfigError, InputError
from medseg.io.atomic import recover_folder, remove_leftovers
from medseg.io.scan import Scan
from medseg.model.cohort import Reading, Source, Watch
from medseg.model.fit import fit_model
from medseg.model.model import Model
from medseg.model.state import ModelState
from medseg.network.examples import examples_of
from medseg.network.training import Group, joined_group
from medseg.preprocessing.prepare import Prepared
from medseg.report.training import write_examples
from medseg.runtime.device import choose_device

STAGES = {
    "reading": "reading {n} scans",
    "context": "training on what lies around each voxel",
    "texture": "training on the texture around each voxel",
    "clustering": "finding the tissues that the scans share",
    "training": "training the autoencoder",
    "describing": "measuring the labels",
    "halves": "looking whether each half of the scans gives the labels again",
}


class _Terminal:
    """Shows a fit, a bar for each stage; examples go to the folder `out`."""

    def __init__(self, n_scans: int, events: Events, out: Path | None) -> None:
        self.n_scans = n_scans
        self.events = events
        self.out = out
        self.current: Bar | None = None
        self.stage = "reading"

    def on_stage(self, stage: str) -> None:
        self.stop()
        self.stage = stage
        say(STAGES[stage].format(n=self.n_scans))

    def on_scan(self, done: int, total: int) -> None:
        self._bar("reading", total).advance(done)

    def on_part(self, done: int, total: int) -> None:
        self._bar(self.stage, total).advance(done)

    def on_step(self, done: int, total: int, loss: float) -> None:
        self._bar("training", total).advance(done, f"loss {loss:.4f}")
        self.events.loss(done, loss)

    def on_fitted(self, model: ModelState, prepared: Sequence[Prepared]) -> None:
        if self.out is not None:
            seed, size = model.config.training.seed, model.plan.patch_size
            write_examples(self.out, model.created, examples_of(model.network, prepared, size, seed=seed))

    @staticmethod
    def on_refused(scan: Source, error: InputError) -> None:
        say(f"{scan.id if isinstance(scan, Scan) else 'scan'}: left out of training: {error}", is_error=True)

    def _bar(self, title: str, total: int) -> Bar:
        if self.current is None:
            self.current = Bar(title, total)
        return self.current

    def stop(self) -> None:
        if self.current is not None:
            self.current.stop()
        self.current = None


def train_model(
    scans: Sequence[Scan],
    folder: Path,
    config: Config,
    *,
    job: Job,
    device: str = "auto",
    tensorboard: Path | None = None,
    out: Path | None = None,
) -> Model:
    """Fit and write a model folder.

    Args:
        job: which masks the scans have, and where those are kept that a tool makes.
        tensorboard: folder for event files.
        out: output folder of the run that this training is part of: the model that lies in `folder` already is taken
            when it was fitted with the same config, and examples of patches go to `out`, never to the model folder.

    Raises:
        ConfigError: the folder cannot be written, or no scan can be used.
    """
    recover_folder(folder)
    remove_leftovers(folder.resolve().parent, folder.name)
    if out is not None and (folder / "model.json").is_file():
        known = Model.load(folder, device=device)
        known.check()
        if known.config == config:
            say(f"model folder {folder} was fitted with these settings: taken as it is")
            shutil.rmtree(_checkpoint(folder), ignore_errors=True)
            return known
    # Of several nodes each counts its own restarts, so that there the number says nothing.
    alone = os.environ.get("GROUP_WORLD_SIZE") == "1"
    with joined_group(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if alone else "") as group:
        if group.size > 1:
            device = f"cuda:{os.environ['LOCAL_RANK']}" if choose_device(device).type == "cuda" else "cpu"
        if group.rank > 0:
            be_silent()
        events, pictures = (Events(tensorboard), out) if group.rank == 0 else (Events(None), None)
        return _fit(scans, folder, config, job, device, _Terminal(len(scans), events, pictures), group)


def _fit(
    scans: Sequence[Scan],
    folder: Path,
    config: Config,
    job: Job,
    device: str,
    terminal: _Terminal,
    group: Group,
) -> Model:
    check_writable(folder.parent)
    checkpoint = _checkpoint(folder)
    watch = Watch(
        terminal.on_scan, terminal.on_refused, terminal.on_step, terminal.on_stage, terminal.on_part, terminal.on_fitted
    )

    def mask_for(scan: Source, image: MetaTensor) -> MetaTensor | None:
        return mask_of(scan, image, job, computing, config.channels.names).inside if isinstance(scan, Scan) else None

    reading, computing = Reading(made=mask_for), choose_device(device)
    # Half of what is left, shared by the processes of torchrun; temporary files hold the rest.
    free = available_memory()
    cache = None if free is None else free // 2 // group.size
    try:
        state = fit_model(
            scans, config, reading=reading, device=device, checkpoint=checkpoint, watch=watch, cache_bytes=cache
        )
    except InputError as error:
        raise ConfigError(str(error)) from None
    finally:
        terminal.stop()
        terminal.events.close()
    model = Model.of(state)
    if group.rank > 0:
        return model
    model.save(folder)
    shutil.rmtree(checkpoint, ignore_errors=True)
    if model.record.ended_early:
        say(f"training ended after {model.record.n_steps} steps: the loss no longer improved")
    return model


def brain_masks_beside(folder: Path) -> Path:
    """Where brain masks lie while the model `folder` is fitted without an output folder."""
    return _checkpoint(folder) / "brain_masks"


def _checkpoint(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.training"
