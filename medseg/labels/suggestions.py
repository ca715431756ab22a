"""Names that may be suggested because something is certain: Hounsfield units, or the order of tissues in T1.

A suggestion is shown beside a label and never becomes its name by itself. In MR other than T1 brains intensity says
nothing about tissue, so nothing is suggested there, nor where the volumes are not those of a human brain: of a whole
head, the brightest label is fat.
"""

from __future__ import annotations

from collections.abc import Sequence

from medseg.labels.table import Label, LabelTable

# Mean of a label in HU, both ends included. Water is 0 and air -1000 by definition of the unit (Hounsfield, Br J Radiol
# 46:1016, 1973); the ranges are those on which textbooks agree, with gaps where they do not.
_HOUNSFIELD = (
    ("air", -10000.0, -950.0),
    ("lung", -900.0, -600.0),
    ("fat", -120.0, -60.0),
    ("soft tissue", 10.0, 100.0),
    ("bone", 300.0, 10000.0),
)
# T1: fluid is dark, fat in the sheaths of axons makes white matter bright.
_T1 = ("cerebrospinal fluid", "grey matter", "white matter")
_BRAIN_ML = (250.0, 2500.0)
"""Volume of all three together, from the brain of a newborn to more than any adult's."""
_SHARES = ((0.0, 0.55), (0.2, 0.8), (0.1, 0.7))
"""Of each in them, wide enough for atrophy and for masks that leave the fluid out; fluid of a whole head has more."""


def suggest_names(labels: Sequence[Label], *, modality: str, method: str, n_clusters: int) -> dict[int, str]:
    """A name for each label of which one is certain, by its number.

    Args:
        modality: of the plan, ``CT`` or ``MR``.
        method: of the clustering, as in the config; brains are segmented with ``per_scan``.
        n_clusters: of the config.
    """
    known = [label for label in labels if label.mean_intensity is not None]
    if modality == "CT":
        return {label.number: name for label in known if (name := _by_hounsfield(label.mean_intensity or 0.0))}
    means = [label.mean_intensity or 0.0 for label in known]
    if modality != "MR" or method != "per_scan" or n_clusters != len(_T1) or len(known) != len(_T1):
        return {}
    is_brain = means == sorted(means) and _are_plausible([label.volume_ml or 0.0 for label in known])
    return dict(zip([x.number for x in known], _T1, strict=True)) if is_brain else {}


def suggest_missing(table: LabelTable, *, modality: str, method: str, n_clusters: int) -> dict[int, str]:
    """`suggest_names` for the labels of a table that have no name yet."""
    found = suggest_names(list(table), modality=modality, method=method, n_clusters=n_clusters)
    return {number: name for number, name in found.items() if not table[number].is_named}


def _are_plausible(volumes_ml: Sequence[float]) -> bool:
    """Whether fluid, grey and white matter may have these volumes."""
    total = sum(volumes_ml)
    shares = zip(volumes_ml, _SHARES, strict=True)
    return _BRAIN_ML[0] <= total <= _BRAIN_ML[1] and all(low <= x / total <= high for x, (low, high) in shares)


def _by_hounsfield(mean_hu: float) -> str:
    return next((name for name, low, high in _HOUNSFIELD if low <= mean_hu <= high), "")
