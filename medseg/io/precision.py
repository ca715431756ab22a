"""Stored voxels to single precision, without the loss that a small range on a huge offset would suffer.

Single precision holds 24 binary digits: of values around 1e8 the steps are 8. Where the offset is that large it says
nothing of tissue, so it is taken away in double precision.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError

_LOG = logging.getLogger(__name__)
LARGEST_RATIO = 2.0**11
"""How many times its own range a value may be and still keep 13 binary digits of that range."""
LARGEST_WHOLE = 2.0**24
"""Beyond it single precision does not hold every whole number."""
LARGEST, SMALLEST = 1e30, 1e-30
"""Values beyond, or a range below, which sums and squares in single precision overflow or vanish."""
LEAST_STEPS = 256
"""Grey values that a range must have in the stored type, as an image of 8 bits has."""
_MOST_SAMPLED = 2**20
_TAILS = (0.1, 99.9)

Single = npt.NDArray[np.float32]


def to_single(stored: npt.NDArray[Any], name: str, slope: float = 1.0, intercept: float = 0.0) -> Single:
    """(I, J, K) stored voxels of any real type -> float32 values ``slope * stored + intercept``, less a huge offset.

    Args:
        name: of the file, for the message.

    Raises:
        InputError: ``lost_contrast``, the stored type is too coarse for the range of its values.
    """
    low, high = value_range(stored, slope, intercept)
    check_scale(low, high, name)
    offset = 0.0
    if is_huge(low, high):
        _check_steps(stored.dtype, (low - intercept) / slope, (high - intercept) / slope, name)
        _LOG.info("%s: values around %g with a range of %g: the offset is taken away", name, low, high - low)
        offset = low
    if slope == 1 and intercept == offset:
        return stored.astype(np.float32)
    values = np.empty(stored.shape, dtype=np.float32, order="F")
    for k in range(stored.shape[-1]):  # double precision for a slice at a time
        values[..., k] = stored[..., k] * np.float64(slope) + np.float64(intercept - offset)
    return values


def value_range(stored: npt.NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> tuple[float, float]:
    """Where nearly all finite values lie, from a sample; the whole range where that is one value, 0 and 0 of none."""
    flat = stored.ravel(order="K")
    for sample, tails in ((flat[:: max(1, flat.size // _MOST_SAMPLED)], _TAILS), (flat, (0.0, 100.0))):
        with np.errstate(invalid="ignore"):  # of bit patterns that are no numbers
            values = sample.astype(np.float64)
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, tails) if values.size else (0.0, 0.0)
        if high > low:
            break
    first, last = sorted((slope * float(low) + intercept, slope * float(high) + intercept))
    return first, last


def is_huge(low: float, high: float) -> bool:
    """Whether values in this range are too large beside it for single precision."""
    return high > low and max(abs(low), abs(high)) > LARGEST_RATIO * (high - low)


def check_scale(low: float, high: float, name: str) -> None:
    """Refuse values that single precision does not hold, or of which it could compute nothing."""
    if max(abs(low), abs(high)) > LARGEST or 0 < high - low < SMALLEST:
        raise InputError(
            f"{name}: found values from {low:g} to {high:g}, beyond what single precision computes with, expected at "
            f"most {LARGEST:g} and a range of at least {SMALLEST:g}; multiply them by a power of ten",
            code="lost_contrast",
        )


def _check_steps(dtype: np.dtype[Any], low: float, high: float, name: str) -> None:
    """Refuse a range that the stored type itself has too few values for; whole numbers are as they were scanned."""
    if dtype.kind != "f":
        return
    step = float(np.spacing(dtype.type(max(abs(low), abs(high)))))
    if abs(high - low) < LEAST_STEPS * step:
        raise InputError(
            f"{name}: found values around {low:g} that differ by {abs(high - low):g} in {dtype.name}, whose steps are "
            f"{step:g} there, expected {LEAST_STEPS} steps or more; take the offset away before storing it",
            code="lost_contrast",
        )
