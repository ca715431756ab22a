"""What the page says of the confidence of labels: what its colours mean, or how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.report.outcome import Outcome

LEGEND = "doubts, where a label is less than 0.9 probable"
HOW = "medseg segment SCANS --model MODEL --out OUT --write nifti,seg.nrrd,confidence"


@dataclass(frozen=True)
class ConfidenceNote:
    """What there is to say.

    Attributes:
        n_shown: pictures with confidence, of `n_pictures`.
        is_order: whether confidence only orders voxels, as with clusters of a cohort.
    """

    n_shown: int
    n_pictures: int
    is_order: bool
    legend: str = LEGEND
    how: str = HOW


def confidence_note(outcome: Outcome, shown: Sequence[bool]) -> ConfidenceNote:
    """The note for a page.

    Args:
        shown: of every scan with slices, whether they have confidence.
    """
    config = outcome.facts.get("config")
    clustering = config.get("clustering") if isinstance(config, dict) else None
    is_of_cohort = isinstance(clustering, dict) and clustering.get("method") != "per_scan"
    return ConfidenceNote(sum(shown), len(shown), is_of_cohort)
