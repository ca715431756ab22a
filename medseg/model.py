"""A fitted model: the five lines that the rest is a comment on.

>>> model = Model.fit(find_scans("scans/"), load_config("brain_t1"))  # doctest: +SKIP
>>> model.save(Path("model"))  # doctest: +SKIP
>>> result = Model.load(Path("model")).segment(read_scan("scans/a.nii.gz"))  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.autoencoder import Autoencoder
from medseg.certainty import ONE, Fractions, Groups, coarse_confidence, confidence_on
from medseg.cleanup import clean
from medseg.clustering import Clusters
from medseg.config import Config
from medseg.cutting import fitted_groups, groups_of, labels_of, table_of_cut
from medseg.description import Description
from medseg.ensemble import Consensus, disagreement_on
from medseg.errors import ConfigError
from medseg.evidence import Evidence
from medseg.fingerprint import ScanFingerprint
from medseg.geometry import Geometry, resample
from medseg.hierarchy import Hierarchy
from medseg.io.scan import Scan
from medseg.label_table import LabelTable
from medseg.measuring import measure
from medseg.notebook import middle_planes
from medseg.own_transforms import ArrayTransform, OwnTransforms
from medseg.preprocessing import Plan, Prepared, check_channels
from medseg.quality import QualityReference
from medseg.scan_tissues import normalise
from medseg.segmentation import LabelArray, Segmentation
from medseg.slabs import filled_slabs, look_up
from medseg.summary import summary_of
from medseg.training import TrainingRecord

__all__ = ["LabelArray", "Model", "Segmentation", "labels_on"]
SLAB_VOXELS = 8_000_000
"""Scores on the native grid exist one label at a time, in slabs of about this many voxels (32 MB)."""


@dataclass(frozen=True, repr=False)
class Model:
    """Everything learned, always fitted, never changed in place.

    Attributes:
        merged: label number -> the label it became part of.
        fingerprints: of the training scans; no path, no name.
        hierarchy: the tree over the labels; None in models of older versions.
        cut: number of labels that the tree is cut to; None for the fitted labels as they are.
        quality: what is usual in the training scans; None for models of versions that did not keep it.
        own: the user's transforms that every scan goes through first.
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
    hierarchy: Hierarchy | None = None
    cut: int | None = None
    quality: QualityReference | None = None
    own: OwnTransforms = field(default_factory=OwnTransforms)

    @staticmethod
    def fit(
        scans: Sequence[Scan | Path | str | MetaTensor],
        config: Config | None = None,
        *,
        before: Sequence[ArrayTransform] = (),
        masks: Callable[[Any], Path | None] = lambda _scan: None,
        **options: Any,
    ) -> Model:
        """Fit to scans without labels; `fitting.fit_model` has the other options.

        Args:
            before: own array transforms, which each scan goes through first, here and when it is segmented.
            masks: path of the mask of a scan, or None.
        """
        from medseg.fitting import Reading, fit_model

        return fit_model(scans, config or Config(), reading=Reading(masks, OwnTransforms.of(before)), **options)

    @staticmethod
    def load(folder: Path | str, *, device: str = "auto", before: Sequence[ArrayTransform] = ()) -> Model:
        """Read a model folder; see `model_folder.load_model`."""
        from medseg.model_folder import load_model

        return load_model(Path(folder), device=device, before=before)

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
        digest.update(b"" if self.cut is None else f"cut {self.cut}".encode())
        digest.update("".join(f"channel {name}" for name in self.config.channels.names).encode())
        digest.update("".join(f"own {name}" for name in self.own.names).encode())
        for name, weight in sorted({**self.network.state_dict(), **self.clusters.tensors()}.items()):
            digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def segment(
        self,
        image: MetaTensor,
        mask: MetaTensor | None = None,
        *,
        confidence: bool = False,
        fractions: bool = False,
        unsure: float = 0.0,
        finest: bool = False,
        disagreement: bool = False,
    ) -> Segmentation:
        """Label a native (C, I, J, K) image, only inside `mask` (1, I, J, K) when given, else inside the body.

        Scores travel from the working grid to the native one, labels are born there, slab by slab.

        Args:
            confidence: whether to say how probable each voxel's label is; the labels stay the same.
            fractions: whether to say how much of each label a voxel holds; the labels stay the same.
            unsure: voxels of less confidence lose their label, after cleanup; 0: none.
            finest: whether to name the leaf of the hierarchy that each voxel belongs to.
            disagreement: whether to say how many members of an ensemble have another label.

        Raises:
            ConfigError: what is asked for does not exist in this model (`check`).
            InputError: other channels than the model's, no foreground, or nothing but one intensity in it.
        """
        self.check(fractions=fractions, finest=finest, disagreement=disagreement)
        check_channels(image, self.config.channels)
        image = self.own(image)
        foreground = self.plan.foreground_of(image, mask)
        prepared = self.plan.prepare(image, foreground)
        inside = (foreground.as_tensor()[0] > 0).cpu().numpy()
        planes = middle_planes(prepared.image)
        del foreground  # four bytes a voxel, of a scan that may have hundreds of millions
        geometry, tree = Geometry.of(image), self.hierarchy if finest or self._is_divided else None
        normalised = normalise(prepared, self.config.clustering)
        seen = self.clusters.evidence(self.network, prepared, normalised)
        description = self._described(seen, prepared) if tree else None
        with ThreadPoolExecutor(max_workers=1) as pool:  # measuring leaves a core idle
            measured = pool.submit(measure, self.network, prepared, normalised, seen)
            del prepared, normalised
            labels = self._fitted_labels(geometry, seen.scores, inside)
            differ = disagreement_on(geometry, seen, labels) if disagreement and isinstance(seen, Consensus) else None
            shares = Fractions(geometry, seen, inside, self.groups) if fractions else None
            del inside
            groups = fitted_groups(self)
            leaves = tree.leaves_on(geometry, description, labels, groups) if tree and description else None
            labels = labels_of(self, labels, leaves)
            sure = confidence_on(geometry, seen, labels, self.groups) if confidence or unsure > 0 else None
            for volume in (labels, leaves):
                if sure is not None and volume is not None:
                    volume[sure < unsure * ONE] = 0
            coarse = coarse_confidence(geometry, seen, labels, self.groups)
        quality = measured.result()
        flags = self.quality.flags(quality, self.config.clustering.n_clusters) if self.quality else ()
        return Segmentation(
            labels, geometry, self.table, sure if confidence else None, shares, leaves if finest else None, quality,
            flags, planes, coarse, disagreement=differ,
        )  # fmt: skip

    def _described(self, seen: Evidence, prepared: Prepared) -> Description:
        """What the hierarchy needs of a scan."""
        return Description.of(seen, prepared, self.config.clustering.surroundings_mm)

    def _fitted_labels(self, geometry: Geometry, scores: MetaTensor, inside: npt.NDArray[np.bool_]) -> LabelArray:
        """Labels of the fit on the native grid, merged unless the hierarchy is cut, and cleaned."""
        labels = labels_on(geometry, scores, inside)
        if self.cut is None:
            labels = self.apply_merges(labels)
        return clean(labels, geometry.spacing_mm, **self.config.cleanup.model_dump())

    def check(self, *, fractions: bool = False, finest: bool = False, disagreement: bool = False) -> None:
        """Refuse, before any work, what this model cannot give.

        Raises:
            ConfigError: leaves without hierarchy, fractions of labels finer than the fitted ones, disagreement of one;
                or anything without the own transforms that the model was fitted with.
        """
        self.own.check()
        if disagreement and self.config.training.ensemble == 1:
            raise ConfigError("this model is one network, found no others; fit it with training.ensemble=3")
        if finest and self.hierarchy is None:
            raise ConfigError("this model has no hierarchy (it was made by an older medseg); train it again")
        if fractions and self._is_divided:
            raise ConfigError(
                f"fractions exist for the {self.config.clustering.n_clusters} fitted labels and unions of them, found "
                f"a cut of {self.cut}; cut to fewer or leave fractions out"
            )

    @property
    def _is_divided(self) -> bool:
        """Whether there are labels finer than the fitted ones."""
        return self.cut is not None and self.cut > self.config.clustering.n_clusters

    @cached_property
    def groups(self) -> Groups:
        """Which fitted labels each label of the table is made of, or, when it is finer, is a part of."""
        return groups_of(self)

    def apply_merges(self, labels: LabelArray) -> LabelArray:
        """The label map with merged labels replaced by what they became part of."""
        if not self.merged:
            return labels
        lookup = np.arange(max(int(labels.max()), *self.merged) + 1)
        for source, target in self.merged.items():
            lookup[source] = target
        return look_up(lookup, labels)

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

    def cut_to(self, n_labels: int) -> Model:
        """The same fit with another number of labels; merges are undone, names stay with labels that stay the same.

        Raises:
            ConfigError: the model has no hierarchy, or no such cut.
        """
        self.check(finest=True)
        table = table_of_cut(self, n_labels)
        return replace(self, table=table, merged={}, cut=n_labels)

    def describe(self) -> str:
        """A few lines for people."""
        return summary_of(self)

    def __repr__(self) -> str:
        return self.describe()


def labels_on(geometry: Geometry, scores: MetaTensor, inside: npt.NDArray[np.bool_]) -> LabelArray:
    """Resample (K, ...) scores onto `geometry` and take the best: (I, J, K), 1..K inside, 0 outside.

    One label at a time and slab by slab: memory does not grow with K.
    """
    labels = np.zeros(geometry.shape, dtype=np.uint8 if len(scores) < 256 else np.uint16)
    score_of = [MetaTensor(channel[None], affine=scores.affine) for channel in scores.as_tensor()]
    for place, grid in filled_slabs(geometry, inside, 1, SLAB_VOXELS):
        best = resample(score_of[0], grid, slab_voxels=SLAB_VOXELS).as_tensor()[0]
        found = torch.ones(best.shape, dtype=torch.uint8 if labels.dtype == np.uint8 else torch.int32)
        for number in range(1, len(score_of)):
            score = resample(score_of[number], grid, slab_voxels=SLAB_VOXELS).as_tensor()[0]
            found.masked_fill_((score > best).cpu(), number + 1)
            torch.maximum(best, score, out=best)
        labels[place] = np.where(inside[place], found.numpy(), 0)
    return labels
