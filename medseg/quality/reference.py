"""Whether a scan is like the training scans: what each measure usually is, and what is far from it.

Every measure of the training scans is summed up by its median and its median absolute deviation. A cohort of a few
scans says little about how much scans differ, so its spread is moderated by what scans of one kind differ by at
least, worth `PRIOR_SCANS` further scans (the moderated t statistic of Smyth, Statistical Applications in Genetics
and Molecular Biology 3:3, 2004, with a fixed prior). The limit for a flag follows from the number of training scans
and the number of measures: of 20 good scans, one may be flagged by chance (Bonferroni). The limit is tuned to no set;
depth and least spread of the brightness below surfaces were chosen on IBSR18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atanh, exp, log, sqrt, tanh
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

FALSE_FLAGS = 0.05
"""Share of good scans that may be flagged, over all measures together."""
PRIOR_SCANS = 4.0
"""Weight of the prior spread, in degrees of freedom."""
_LEAST_SHARE = 2e-3
"""Shares are compared from here to one minus this."""
_MAD_EFFICIENCY = 0.37
"""A median absolute deviation knows as much as a standard deviation of this share of the scans (Gaussian values)."""
_SMALL_MAD = (1.0, 1.0, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)
"""Corrections of the median absolute deviation of 0 to 9 values (Croux and Rousseeuw, COMPSTAT 1:411, 1992)."""


@dataclass(frozen=True)
class Kind:
    """How one kind of measure is compared and told.

    Attributes:
        prior_sd: what scans of one kind differ by at least, on the scale on which they are compared.
        scale: ``ratio`` compares logarithms, ``share`` log odds, ``correlation`` Fisher's z, ``difference`` the value.
        unit: of the value.
        factor: of the value as it is told, such as 100 for percent.
    """

    prior_sd: float
    scale: Literal["ratio", "share", "correlation", "difference"] = "difference"
    unit: str = ""
    factor: float = 1.0

    def compared(self, value: float) -> float:
        """The value on the scale on which spreads are measured."""
        if self.scale == "ratio":
            return log(max(value, 1e-3))
        if self.scale == "share":
            share = min(max(value, _LEAST_SHARE), 1 - _LEAST_SHARE)
            return log(share / (1 - share))
        return atanh(min(max(value, -0.99), 0.99)) if self.scale == "correlation" else value

    def told(self, compared: float) -> float:
        """The inverse of `compared`, in the unit for people."""
        inverse = {"ratio": exp, "share": lambda x: 1 / (1 + exp(-x)), "correlation": tanh}.get(self.scale, float)
        return self.factor * inverse(min(max(compared, -60.0), 60.0) if self.scale != "difference" else compared)


KINDS = {
    "foreground volume": Kind(0.15, "ratio", " ml"),
    "extent left to right": Kind(0.05, "ratio", " mm"),
    "extent back to front": Kind(0.05, "ratio", " mm"),
    "extent bottom to top": Kind(0.05, "ratio", " mm"),
    "place of the median between dark and bright": Kind(0.1),
    "correlation of brightness with depth": Kind(0.15, "correlation"),
    "brightness below the surface left to right": Kind(0.012),
    "brightness below the surface back to front": Kind(0.012),
    "brightness below the surface bottom to top": Kind(0.012),
    "edges": Kind(0.15, "ratio", " % of the contrast", 100.0),
    "noise": Kind(0.3, "ratio", " % of the contrast", 100.0),
    "unsure voxels": Kind(0.3, "share", " %", 100.0),
    "reconstruction error": Kind(0.15, "difference", " nats a voxel"),
}
"""Measures of a scan."""
LABEL_KINDS = {
    "share": Kind(0.3, "share", " %", 100.0),
    "intensity": Kind(0.05),
    "depth": Kind(0.1),
}
"""Measures of a label in a scan: share of the foreground, mean intensity (0 to 1), mean relative depth (0 to 1)."""


def label_measure(number: int, name: str) -> str:
    """Name of a measure of a label."""
    return f"label {number} {name}"


def kind_of(name: str) -> Kind:
    """How the measure of this name is compared."""
    return KINDS[name] if name in KINDS else LABEL_KINDS[name.split(" ", 2)[2]]


@dataclass(frozen=True)
class Flag:
    """A measure that is unlike those of the training scans; `low` to `high` is what was expected."""

    measure: str
    found: float
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        return f"{self.measure} {self.found:.3g}{self.unit}, expected {self.low:.3g} to {self.high:.3g}{self.unit}"


class Usual(BaseModel):
    """What one measure is in the training scans, on the scale on which it is compared.

    Attributes:
        median: of the scans.
        mad_sd: standard deviation by their median absolute deviation; 0 for a single scan.
        n_scans: in which the measure exists.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    median: float
    mad_sd: float
    n_scans: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Usual:
        """Sum up (N,) values."""
        found = np.asarray(values, dtype=np.float64)
        n = len(found)
        middle = float(np.median(found))
        small = _SMALL_MAD[n] if n < len(_SMALL_MAD) else n / (n - 0.8)
        return cls(median=middle, mad_sd=1.4826 * small * float(np.median(np.abs(found - middle))), n_scans=n)

    def reach(self, prior_sd: float, error: float) -> float:
        """How far from the median a further good scan lies with a probability of `error`."""
        own = _MAD_EFFICIENCY * (self.n_scans - 1)
        freedom = PRIOR_SCANS + own
        sd = sqrt((PRIOR_SCANS * prior_sd**2 + own * self.mad_sd**2) / freedom)
        return float(stats.t.isf(error / 2, freedom)) * sd * sqrt(1 + 1 / self.n_scans)


class QualityReference(BaseModel):
    """What is usual in the training cohort; numbers only, no path and no name.

    Attributes:
        n_labels: labels of the model when it was fitted; measures of labels hold for no other number of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_labels: int
    usual: dict[str, Usual]

    @classmethod
    def fit(cls, cohort: Sequence[Mapping[str, float]], n_labels: int) -> QualityReference:
        """Sum up the measures of every training scan; a scan may lack some."""
        names = dict.fromkeys(name for values in cohort for name in values)
        kept = {name: [kind_of(name).compared(v[name]) for v in cohort if name in v] for name in names}
        return cls(n_labels=n_labels, usual={name: Usual.of(values) for name, values in kept.items()})

    def flags(self, values: Mapping[str, float], n_labels: int) -> tuple[Flag, ...]:
        """What is unusual in a scan, the most unusual first."""
        known = {n: u for n, u in self.usual.items() if n in values and (n in KINDS or n_labels == self.n_labels)}
        found = []
        for name, usual in known.items():
            kind = kind_of(name)
            reach = usual.reach(kind.prior_sd, FALSE_FLAGS / len(known))
            excess = abs(kind.compared(values[name]) - usual.median) / reach
            if excess > 1:
                low, high = kind.told(usual.median - reach), kind.told(usual.median + reach)
                found.append((excess, Flag(name, kind.factor * values[name], low, high, kind.unit)))
        return tuple(flag for _, flag in sorted(found, key=lambda pair: -pair[0]))
