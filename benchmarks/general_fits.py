"""medseg on the cohorts of `benchmarks.general`: every fit once, its labels and pictures below the output folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data.meta_tensor import MetaTensor

from benchmarks.general_cohorts import Cohort
from benchmarks.sets import Case
from medseg import Geometry, Model, Scan, load_config, read_scan, write_labels
from medseg.io.read import read_mask
from medseg.report.mosaic import write_mosaic
from medseg.report.slices import cut_slices


@dataclass(frozen=True)
class Setting:
    """How a cohort is fitted.

    Attributes:
        changes: ``a.b=value`` on top of the cohort's config.
        cuts: fit with the config's own number of labels and cut the model to K, instead of fitting with K labels.
    """

    variant: str = "medseg"
    seed: int = 0
    changes: tuple[str, ...] = ()
    cuts: bool = False


@dataclass(frozen=True)
class Fitted:
    """One model for each fold."""

    models: tuple[Model, ...]
    seconds: float


@dataclass(frozen=True)
class Labelled:
    """Label volumes in the order of `Cohort.scored`; seconds of a fit and of a scan, reading and writing included."""

    files: tuple[Path, ...]
    seconds_fit: float
    seconds_scan: float


@dataclass
class Fits:
    """All fits and label volumes of a run; each is made when it is first asked for."""

    out: Path
    _fitted: dict[tuple[str, int | None, Setting], Fitted] = field(default_factory=dict, repr=False)
    _labelled: dict[tuple[str, int, Setting], Labelled] = field(default_factory=dict, repr=False)

    def fitted(self, cohort: Cohort, k: int | None, setting: Setting) -> Fitted:
        """The models of a cohort with `k` labels; None: as many as the config has."""
        key = (cohort.name, k, setting)
        if key not in self._fitted:
            self._fitted[key] = _fit(cohort, k, setting)
        return self._fitted[key]

    def labelled(self, cohort: Cohort, k: int, setting: Setting) -> Labelled:
        """The label volumes of a cohort with `k` labels."""
        key = (cohort.name, k, setting)
        if key not in self._labelled:
            fitted = self.fitted(cohort, None if setting.cuts else k, setting)
            models = [cut(model, k) for model in fitted.models] if setting.cuts else list(fitted.models)
            self._labelled[key] = self._segment(cohort, k, setting, models, fitted.seconds)
        return self._labelled[key]

    def _segment(
        self, cohort: Cohort, k: int, setting: Setting, models: Sequence[Model], seconds_fit: float
    ) -> Labelled:
        name = "_".join([stem(cohort, k), *(["cut"] if setting.cuts else [])])
        variant = setting.variant.replace(" ", "_")
        files, seconds = [], []
        for model, (_, cases) in zip(models, cohort.folds, strict=True):
            for case in cases:
                started = time.monotonic()
                image, mask = read(cohort, case, model)
                result = model.segment(image, mask)
                file = self.out / "labels" / name / variant / f"seed{setting.seed}" / f"{case.name}_seg.nii.gz"
                write_labels(result.labels, result.geometry, file)
                seconds.append(time.monotonic() - started)
                files.append(file)
                title = f"{cohort.name} {case.name}, K = {k}, {setting.variant}, seed {setting.seed}"
                picture = self.out / "pictures" / f"{name}_{case.name}_{variant}_seed{setting.seed}.png"
                write_mosaic(cut_slices(image, result), result.table, picture, title=title)
        return Labelled(tuple(files), seconds_fit, float(np.mean(seconds)))


def stem(cohort: Cohort, k: int) -> str:
    """Start of the names of files of a cohort with `k` labels."""
    return f"{cohort.name.replace(' ', '_')}_K{k}"


def cut(model: Model, k: int) -> Model:
    """The model with `k` labels."""
    return model if len(model.table) == k else model.cut_to(k)


def read(cohort: Cohort, case: Case, model: Model) -> tuple[MetaTensor, MetaTensor | None]:
    """A scan with the channels of the model, and its mask."""
    image = read_scan(cohort.scan(case, model.config))
    return image, None if case.mask is None else read_mask(case.mask, Geometry.of(image))


def _fit(cohort: Cohort, k: int | None, setting: Setting) -> Fitted:
    n_labels = [] if k is None else [f"clustering.n_clusters={k}"]
    changes = [*cohort.changes, *setting.changes, f"training.seed={setting.seed}", *n_labels]
    config = load_config(cohort.config, changes)
    models, seconds = [], []
    for cases, _ in cohort.folds:
        masks = {case.scan: case.mask for case in cases}

        def mask_of(scan: Scan, masks: dict[Path, Path | None] = masks) -> Path | None:
            return masks[scan.path]

        started = time.monotonic()
        models.append(Model.fit([cohort.scan(case, config) for case in cases], config, masks=mask_of))
        seconds.append(time.monotonic() - started)
    return Fitted(tuple(models), float(np.mean(seconds)))
