"""Whether a scan is like the training scans: what each measure usually is, and what is far from it.

Every measure of the training scans is summed up by its median and its median absolute deviation. A cohort of a few
scans says little about how much scans differ, so its spread is moderated by what scans of one kind differ by at
least, worth `PRIOR_SCANS` further scans (the moderated t statistic of Smyth, Statistical Applications in Genetics
and Molecular Biology 3:3, 2004, with a fixed prior). The limit for a flag follows from the number of training scans
and the number of measures: of 20 good scans, one may be flagged by chance (Bonferroni). The limit is tuned to no set;
depth and least spread of the brightness below surfaces were chosen on IBSR18.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from medseg.quality.measures import KINDS, LABEL_KINDS, Flag, Kind, Measures

FALSE_FLAGS = 0.05
"""Share of good scans that may be flagged, over all measures together."""
PRIOR_SCANS = 4.0
"""Weight of the prior spread, in degrees of freedom."""
_MAD_EFFICIENCY = 0.37
"""A median absolute deviation knows as much as a standard deviation of this share of the scans (Gaussian values)."""
_SMALL_MAD = (1.0, 1.0, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)
"""Corrections of the median absolute deviation of 0 to 9 values (Croux and Rousseeuw, COMPSTAT 1:411, 1992)."""


class Usual(BaseModel):
    """What one measure is in the training scans, on the scale on which it is compared.

    Attributes:
        median: of the scans.
        mad_sd: standard deviation by their median absolute deviation; 0 for a single scan.
        n_scans: in which the measure exists.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    median: float
    mad_sd: float = Field(ge=0)
    n_scans: int = Field(ge=1)

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
        scan: measures of the scan by name.
        labels: measures of each label by its number and name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_labels: int
    scan: dict[str, Usual]
    labels: dict[int, dict[str, Usual]]

    @classmethod
    def fit(cls, cohort: Sequence[Measures], n_labels: int) -> QualityReference:
        """Sum up the measures of every training scan; a scan may lack some."""
        numbers = sorted({number for measures in cohort for number in measures.labels})
        return cls(
            n_labels=n_labels,
            scan=_usual([measures.scan for measures in cohort], KINDS),
            labels={n: _usual([measures.labels.get(n, {}) for measures in cohort], LABEL_KINDS) for n in numbers},
        )

    def flags(self, found: Measures, n_labels: int) -> tuple[Flag, ...]:
        """What is unusual in a scan, the most unusual first."""
        known = list(_known(None, self.scan, found.scan, KINDS))
        for number, usual in self.labels.items() if n_labels == self.n_labels else ():
            known += _known(number, usual, found.labels.get(number, {}), LABEL_KINDS)
        flagged = []
        for label, name, kind, one, value in known:
            reach = one.reach(kind.prior_sd, FALSE_FLAGS / len(known))
            excess = abs(kind.compared(value) - one.median) / reach
            if excess > 1:
                low, high = kind.restored(one.median - reach), kind.restored(one.median + reach)
                flagged.append((excess, Flag(name, kind.factor * value, low, high, kind.unit, label)))
        return tuple(flag for _, flag in sorted(flagged, key=lambda pair: -pair[0]))


def _usual(cohort: Sequence[Mapping[str, float]], kinds: Mapping[str, Kind]) -> dict[str, Usual]:
    """Of every measure that some scan has."""
    values = {name: [kind.compared(x[name]) for x in cohort if name in x] for name, kind in kinds.items()}
    return {name: Usual.of(found) for name, found in values.items() if found}


def _known(
    label: int | None, usual: Mapping[str, Usual], values: Mapping[str, float], kinds: Mapping[str, Kind]
) -> Iterator[tuple[int | None, str, Kind, Usual, float]]:
    """The measures that the reference and the scan both have: label, name, kind, what is usual, what was found."""
    return ((label, name, kinds[name], one, values[name]) for name, one in usual.items() if name in values)
