"""One row of the table: who labelled what, how well, how long it took, how much memory it needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data.meta_tensor import MetaTensor

from benchmarks.sets import Case, Part
from medseg import read_scan
from medseg.batch.resources import peak_memory_mb
from medseg.evaluation.evaluate import Pair, evaluate
from medseg.evaluation.scores import ScanMetrics
from medseg.io.read import read_mask
from medseg.model.segmentation import LabelArray
from medseg.spatial.geometry import Geometry


@dataclass
class Costs:
    """Seconds of each fit and of each scan (reading and writing included), and the peak of resident memory."""

    fits: list[float] = field(default_factory=list)
    scans: list[float] = field(default_factory=list)
    peak_gb: float = 0.0

    @contextmanager
    def timed(self, into: list[float]) -> Iterator[None]:
        """Add the seconds of the block to `into`."""
        started = time.monotonic()
        yield
        into.append(time.monotonic() - started)
        self.peak_gb = max(self.peak_gb, peak_memory_mb() / 1024)


@dataclass(frozen=True)
class Row:
    """Scores of one method on one part.

    Attributes:
        setting: configuration with its changes, or the peer's settings.
        fitted_on: names of the scans that models were fitted on; empty where each image is treated alone.
        seen: names of the scans that were scored with a model that was fitted on them.
    """

    part: str
    method: str
    setting: str
    seed: int
    n_labels: int
    fitted_on: tuple[str, ...]
    seen: frozenset[str]
    scans: tuple[ScanMetrics, ...]
    costs: Costs

    @property
    def classes(self) -> dict[int, float]:
        """Mean over scans of the Dice of each class."""
        values = list(self.scans[0].classes)
        return {c: float(np.nanmean([scan.classes[c].dice for scan in self.scans])) for c in values}

    @property
    def dice(self) -> float:
        """Mean over scans."""
        return float(np.mean([scan.dice for scan in self.scans]))

    def ranked(self) -> list[ScanMetrics]:
        """Scans, worst first."""
        return sorted(self.scans, key=lambda scan: scan.dice)


def load(case: Case) -> tuple[MetaTensor, MetaTensor | None]:
    """The scan and its mask."""
    image = read_scan(case.scan)
    return image, None if case.mask is None else read_mask(case.mask, Geometry.of(image))


def masks_of(cases: Sequence[Case]) -> Callable[[object], Path | None]:
    """The mask of each scan, for a fit."""
    masks = {str(case.scan): case.mask for case in cases}
    return lambda scan: masks[str(scan)]


def pair_of(case: Case, labels: LabelArray, image: MetaTensor, mask: MetaTensor | None, part: Part) -> Pair:
    """What is scored: inside the reference and the mask."""
    truth = case.read_truth()
    shifted = labels if part.inside else labels.astype(np.int32) + 1
    inside = truth > 0 if mask is None else (truth > 0) & (mask.as_tensor()[0].numpy() > 0)
    return Pair(case.name, shifted, truth, inside, Geometry.of(image).spacing_mm)


def score(part: Part, folds: Sequence[Sequence[Pair]], *, per_scan: bool) -> tuple[ScanMetrics, ...]:
    """Scores of all scans; one mapping a fold (a model), or one a scan (peers)."""
    results = [
        evaluate(pairs, how=part.how, classes=part.classes, per_scan=per_scan, tolerance_mm=None) for pairs in folds
    ]
    return tuple(scan for result in results for scan in result.scans)
