"""Intensity-based statistics of a region by the definitions of the Image Biomarker Standardisation Initiative (IBSI).

Zwanenburg et al., arXiv:1612.07003, section 3.3, and Radiology 295:328, 2020. Names are the symbols of that document.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from medseg.statistics.values import Values, mean_of, percentiles_of

NAMES = (
    "stat_mean", "stat_var", "stat_skew", "stat_kurt", "stat_median", "stat_min", "stat_p10", "stat_p90", "stat_max",
    "stat_iqr", "stat_range", "stat_mad", "stat_rmad", "stat_medad", "stat_cov", "stat_qcod", "stat_energy", "stat_rms",
)  # fmt: skip


def first_order(values: Values) -> dict[str, float]:
    """`NAMES` of (V,) intensities, which change their order; a ratio whose denominator is 0 is left out."""
    mean = mean_of(values)
    central = {power: mean_of(values, lambda x, n=power: (x - mean) ** n) for power in (2, 3, 4)}  # type: ignore[misc]
    sd, energy = sqrt(central[2]), mean_of(values, np.square)
    p10, p25, median, p75, p90 = percentiles_of(values, (10, 25, 50, 75, 90))
    low, high = float(values.min()), float(values.max())
    found = {
        "stat_mean": mean, "stat_var": central[2],
        "stat_skew": central[3] / sd**3 if sd else 0.0, "stat_kurt": central[4] / sd**4 - 3 if sd else 0.0,
        "stat_median": median, "stat_min": low, "stat_p10": p10, "stat_p90": p90, "stat_max": high,
        "stat_iqr": p75 - p25, "stat_range": high - low,
        "stat_mad": mean_of(values, lambda x: np.abs(x - mean)),
        "stat_rmad": _deviation(values[(values >= p10) & (values <= p90)]),
        "stat_medad": mean_of(values, lambda x: np.abs(x - median)),
        "stat_energy": energy * len(values), "stat_rms": sqrt(energy),
    }  # fmt: skip
    ratios = {"stat_cov": (sd, mean), "stat_qcod": (p75 - p25, p75 + p25)}
    return {**found, **{name: over / under for name, (over, under) in ratios.items() if under}}


def _deviation(values: Values) -> float:
    """Mean absolute deviation; 0 where no value lies between the two percentiles."""
    if not len(values):
        return 0.0
    mean = mean_of(values)
    return mean_of(values, lambda x: np.abs(x - mean))
