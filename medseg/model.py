"""A fitted model: the five lines that the rest is a comment on.

>>> model = Model.fit(find_scans("scans/"), load_config("brain_t1"))  # doctest: +SKIP
>>> model.save(Path("model"))  # doctest: +SKIP
>>> result = Model.load(Path("model")).segment(read_scan("scans/a.nii.gz"))  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.autoencoder import Autoencoder
from medseg.cleanup import clean, count_values
from medseg.clustering import Clusters, normalise
from medseg.config import Config
from medseg.errors import ConfigError
from medseg.fingerprint import ScanFingerprint
from medseg.geometry import Geometry, resample
from medseg.io.scan import Scan
from medseg.label_table import LabelTable
from medseg.measuring import measure
from medseg.preprocessing import Plan
from medseg.quality import Flag, QualityReference
from medseg.training import TrainingRecord

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
SLAB_VALUES = 40_000_000
"""Scores on the native grid exist only in slabs of about this many values (160 MB)."""


@dataclass(frozen=True)
class Segmentation:
    """Labels of one scan on its native grid: (I, J, K), 0 is the background.

    Attributes:
        quality: measures of the scan by their name in `medseg.quality`.
        flags: those that are unlike the training scans'.
    """

    labels: LabelArray
    geometry: Geometry
    table: LabelTable
    quality: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()

    def volumes_mm3(self) -> dict[int, float]:
        """Volume of every label of the table, 0 for those that do not occur."""
        n_values = max([int(self.labels.max()), *(x.number for x in self.table)]) + 1
        counts = count_values(self.labels, n_values)
        return {label.number: float(counts[label.number]) * self.geometry.voxel_volume_mm3 for label in self.table}


@dataclass(frozen=True)
class Model:
    """Everything learned, always fitted, never changed in place.

    Attributes:
        merged: label number -> the label it became part of.
        fingerprints: of the training scans; no path, no name.
        quality: what is usual in the training scans; None for models of versions that did not keep it.
    """

    config: Config
    plan: Plan
    network: Autoencoder
    clusters: Clusters
    table: LabelTable
    merged: dict[int, int]
    fingerprints: tuple[ScanFingerprint, ...]
    record: TrainingRecord
    created: str
    quality: QualityReference | None = None

    @staticmethod
    def fit(scans: Sequence[Scan | Path | str | MetaTensor], config: Config | None = None, **options: Any) -> Model:
        """Fit to scans without labels; `fitting.fit_model` has the options."""
        from medseg.fitting import fit_model

        return fit_model(scans, config or Config(), **options)

    @staticmethod
    def load(folder: Path | str, *, device: str = "auto") -> Model:
        """Read a model folder; see `model_folder.load_model`."""
        from medseg.model_folder import load_model

        return load_model(Path(folder), device=device)

    def save(self, folder: Path | str) -> None:
        """Write a model folder, whole or not at all."""
        from medseg.model_folder import save_model

        save_model(self, Path(folder))

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.network.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when anything changes that labels depend on; names and colours do not count."""
        digest = hashlib.sha256()
        for value in (self.plan, self.config.clustering, self.config.cleanup):
            digest.update(json.dumps(value.model_dump(mode="json"), sort_keys=True).encode())
        digest.update(json.dumps(sorted(self.merged.items())).encode())
        for name, weight in sorted({**self.network.state_dict(), **self.clusters.tensors()}.items()):
            digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def segment(self, image: MetaTensor, mask: MetaTensor | None = None) -> Segmentation:
        """Label a native (1, I, J, K) image, only inside `mask` (1, I, J, K) when given, else inside the body.

        Scores travel from the working grid to the native one, labels are born there, slab by slab.

        Raises:
            InputError: there is no foreground, or nothing but one intensity in it.
        """
        foreground = self.plan.foreground_of(image, mask)
        prepared = self.plan.prepare(image, foreground)
        inside = (foreground.as_tensor()[0] > 0).cpu().numpy()
        del foreground  # four bytes a voxel, of a scan that may have hundreds of millions
        geometry = Geometry.of(image)
        normalised = normalise(prepared, self.config.clustering)
        scores = self.clusters.scores(self.network, prepared, normalised)
        quality = measure(self.network, prepared, normalised, scores)
        flags = self.quality.flags(quality, len(scores)) if self.quality else ()
        labels = labels_on(geometry, scores, inside)
        del prepared, normalised, scores, inside
        labels = self.apply_merges(labels)
        chosen = self.config.cleanup
        labels = clean(
            labels,
            geometry.spacing_mm,
            min_volume_mm3=chosen.min_volume_mm3,
            max_hole_mm3=chosen.max_hole_mm3,
            keep_largest=chosen.keep_largest,
            connectivity=chosen.connectivity,
        )
        return Segmentation(labels, geometry, self.table, quality, flags)

    def apply_merges(self, labels: LabelArray) -> LabelArray:
        """The label map with merged labels replaced by what they became part of."""
        if not self.merged:
            return labels
        lookup = np.arange(max(int(labels.max()), *self.merged) + 1, dtype=labels.dtype)
        for source, target in self.merged.items():
            lookup[source] = target
        merged = np.empty_like(labels)
        for plane, source_plane in zip(merged, labels, strict=True):  # indexing widens to eight bytes a voxel
            plane[...] = lookup[source_plane]
        return merged

    def relabelled(self, table: LabelTable, merges: dict[int, int]) -> Model:
        """The same model under another label table; `merges` (from -> into) are added to those made before.

        Raises:
            ConfigError: a merge that names a label which is not there.
        """
        for source, target in merges.items():
            if source == target:
                raise ConfigError(f"label {source} cannot be merged into itself")
            table[source], table[target]
        merged = {source: merges.get(target, target) for source, target in {**self.merged, **merges}.items()}
        return replace(self, table=table.without(list(merges)), merged=merged)

    def describe(self) -> str:
        """A few lines for people."""
        lines = [f"{len(self.table)} labels, working grid {self.plan.spacing_mm} mm, {self.plan.modality}, "
                 f"trained on {len(self.fingerprints)} scans in {self.record.n_steps} steps"]  # fmt: skip
        for label in self.table:
            intensity = "" if label.mean_intensity is None else f"  mean intensity {label.mean_intensity:.3g}"
            volume = "" if label.volume_ml is None else f"  {label.volume_ml:.1f} ml"
            lines.append(f"  {label.number:3d}  {label.name}{intensity}{volume}")
        return "\n".join(lines)


def labels_on(geometry: Geometry, scores: MetaTensor, inside: npt.NDArray[np.bool_]) -> LabelArray:
    """Resample (K, ...) scores onto `geometry` and take the best: (I, J, K), 1..K inside, 0 outside."""
    n_labels = scores.shape[0]
    labels = np.zeros(geometry.shape, dtype=np.uint8 if n_labels < 256 else np.uint16)
    filled = np.flatnonzero(inside.any(axis=(0, 1)))
    if not filled.size:
        return labels
    planes = max(1, SLAB_VALUES // (n_labels * geometry.shape[0] * geometry.shape[1]))
    for start in range(int(filled[0]), int(filled[-1]) + 1, planes):
        stop = min(start + planes, int(filled[-1]) + 1)
        slab = geometry.crop((0, 0, start), (*geometry.shape[:2], stop - start))
        best = resample(scores, slab).as_tensor().argmax(dim=0).cpu().numpy().astype(labels.dtype) + 1
        labels[..., start:stop] = np.where(inside[..., start:stop], best, 0)
    return labels
