"""What is measured of a scan and of its labels: names, units, how values are compared, and what people read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import atanh, exp, log, tanh
from typing import Literal

LEAST_INVERTED = 0.1
"""Least correlation of brightness with depth, of the other sign than was expected, that is called inverted contrast."""
_LEAST_SHARE = 2e-3
"""Shares are compared from here to one minus this."""


@dataclass(frozen=True)
class Kind:
    """How one kind of measure is told and compared.

    Attributes:
        told: what people read in place of its name.
        prior_sd: what scans of one kind differ by at least, on the scale on which they are compared.
        scale: ``ratio`` compares logarithms, ``share`` log odds, ``correlation`` Fisher's z, ``difference`` the value.
        unit: of the value as it is told.
        factor: of the value as it is told, such as 100 for percent.
    """

    told: str
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

    def restored(self, compared: float) -> float:
        """The inverse of `compared`, in the unit for people."""
        inverse = {"ratio": exp, "share": lambda x: 1 / (1 + exp(-x)), "correlation": tanh}.get(self.scale, float)
        return self.factor * inverse(min(max(compared, -60.0), 60.0) if self.scale != "difference" else compared)


KINDS = {
    "foreground_ml": Kind("foreground volume", 0.15, "ratio", "ml"),
    "extent_lr_mm": Kind("extent left to right", 0.05, "ratio", "mm"),
    "extent_ap_mm": Kind("extent back to front", 0.05, "ratio", "mm"),
    "extent_si_mm": Kind("extent bottom to top", 0.05, "ratio", "mm"),
    "median_position": Kind("place of the median between dark and bright", 0.1),
    "depth_correlation": Kind("correlation of brightness with depth", 0.15, "correlation"),
    "surface_brightness_lr": Kind("brightness below the surface left to right", 0.012),
    "surface_brightness_ap": Kind("brightness below the surface back to front", 0.012),
    "surface_brightness_si": Kind("brightness below the surface bottom to top", 0.012),
    "edges_to_contrast": Kind("edges", 0.15, "ratio", "% of the contrast", 100.0),
    "noise_to_contrast": Kind("noise", 0.3, "ratio", "% of the contrast", 100.0),
    "unsure_share": Kind("unsure voxels", 0.3, "share", "%", 100.0),
    "reconstruction_error_nats": Kind("reconstruction error", 0.15, "difference", "nats a voxel"),
}
"""Measures of a scan; those without a unit in their name are ratios, shares or correlations."""
LABEL_KINDS = {
    "share": Kind("share", 0.3, "share", "%", 100.0),
    "intensity": Kind("intensity", 0.05),
    "depth": Kind("depth", 0.1),
}
"""Measures of a label in a scan: share of the foreground, mean intensity (0 to 1), mean relative depth (0 to 1)."""


@dataclass(frozen=True)
class Measures:
    """What was measured of one scan.

    Attributes:
        scan: by the names of `KINDS`; a scan may lack some.
        labels: by label number, by the names of `LABEL_KINDS`; a label that does not occur has its share only.
    """

    scan: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def as_columns(self) -> dict[str, float]:
        """All of them by one name each, such as ``label_2_share``: a row of a table."""
        of_labels = {f"label_{n}_{name}": x for n, values in self.labels.items() for name, x in values.items()}
        return {**self.scan, **of_labels}


@dataclass(frozen=True)
class Flag:
    """A measure that is unlike those of the training scans.

    Attributes:
        measure: a name of `KINDS`, or of `LABEL_KINDS` when there is a label.
        found: in `unit`.
        low: least value that was expected.
        high: largest value that was expected.
        label: number of the label that it is a measure of; None for one of the scan.
    """

    measure: str
    found: float
    low: float
    high: float
    unit: str
    label: int | None = None

    @property
    def is_inverted_contrast(self) -> bool:
        """Whether what is bright inside the training scans is dark here, as in a T2 given to a model of T1."""
        opposite = self.found < 0 < self.low or self.high < 0 < self.found
        return self.measure == "depth_correlation" and opposite and abs(self.found) >= LEAST_INVERTED

    def __str__(self) -> str:
        told = (
            KINDS[self.measure].told if self.label is None else f"label {self.label} {LABEL_KINDS[self.measure].told}"
        )
        unit = f" {self.unit}" if self.unit else ""
        told = f"contrast inverted: {told}" if self.is_inverted_contrast else told
        return f"{told} {self.found:.3g}{unit}, expected {self.low:.3g} to {self.high:.3g}{unit}"
