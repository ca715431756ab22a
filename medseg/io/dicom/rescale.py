"""Slope and intercept of an image: what its header says, and whether the slices of a volume agree."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medseg.errors import InputError

DEFAULTS = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
OTHER_UNITS = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")
"""Defined terms of RescaleType for values that are no Hounsfield units; US says nothing."""


class Rescale(NamedTuple):
    """What turns stored pixels into values; None where the header has no such element.

    Attributes:
        unreadable: which element holds no number, and what it holds: ``RescaleSlope is empty``; else empty.
        is_table: a look-up table takes the place of slope and intercept.
        unit: what RescaleType calls the values.
    """

    slope: float | None = None
    intercept: float | None = None
    unreadable: str = ""
    is_table: bool = False
    unit: str = ""

    def apply(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Stored pixels -> values."""
        slope = 1.0 if self.slope is None else self.slope
        return np.asarray(stored * np.float64(slope) + np.float64(self.intercept or 0.0))


def rescale_of(found: Dataset) -> Rescale:
    """The rescale elements of a file or of the functional group of a frame."""
    unit = str(found.get("RescaleType") or "").strip().upper()
    (slope, slope_text), (intercept, intercept_text) = (_number(found, keyword) for keyword in DEFAULTS)
    return Rescale(slope, intercept, slope_text or intercept_text, bool(found.get("ModalityLUTSequence")), unit)


def _number(found: Dataset, keyword: str) -> tuple[float | None, str]:
    """The value of an element, and what is wrong with it."""
    if keyword not in found:
        return None, ""
    try:
        value = found[keyword].value
        if value is None or value == "":
            return None, f"{keyword} is empty"
        if math.isfinite(number := float(value)):
            return number, ""
        return None, f"{keyword} is not finite"
    # pydicom raises many kinds for values that it cannot convert.
    except Exception:
        raw = getattr(found.get_item(keyword), "value", "")
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)
    is_comma = re.fullmatch(r"[-+]?\d*,\d+", text.strip(" \0"))
    return None, f"{keyword} is written with a comma" if is_comma else f"{keyword} is not one number"


def check_rescale(slices: Sequence[Rescale], *, is_hounsfield: bool, is_enhanced: bool) -> None:
    """Refuse slices whose values are unknown or of different kinds.

    Args:
        slices: of one volume.
        is_hounsfield: CT, whose values mean nothing without an intercept.
        is_enhanced: frames of multi-frame files, which have slope and intercept or none of them.

    Raises:
        InputError: ``no_rescale``.
    """
    problem = (
        next((f"{one.unreadable}, expected a decimal number" for one in slices if one.unreadable), "")
        or _mixed(slices, is_hounsfield=is_hounsfield)
        or _other_unit(slices, is_hounsfield=is_hounsfield)
        or _incomplete(slices[0], is_hounsfield=is_hounsfield, is_enhanced=is_enhanced)
    )
    if problem:
        raise InputError(f"{problem}; export the series again", code="no_rescale")


def _mixed(slices: Sequence[Rescale], *, is_hounsfield: bool) -> str:
    """Which element some slices have and others lack, though it matters."""
    if 0 < sum(one.is_table for one in slices) < len(slices):
        return "some slices have a modality look-up table and others none, expected it in all slices or in none"
    for number, (keyword, default) in enumerate(DEFAULTS.items()):
        there = [one[number] for one in slices if one[number] is not None]
        n_missing = len(slices) - len(there)
        if there and n_missing and (is_hounsfield or any(value != default for value in there)):
            verb = "has" if n_missing == 1 else "have"
            return f"{n_missing} of {len(slices)} slices {verb} no {keyword}, expected it in all slices or in none"
    return ""


def _other_unit(slices: Sequence[Rescale], *, is_hounsfield: bool) -> str:
    """What spectral CT measures instead of attenuation: densities, atomic numbers, shares of a material."""
    unit = next((one.unit for one in slices if one.unit in OTHER_UNITS), "") if is_hounsfield else ""
    return f"RescaleType is {unit}, so the values are no Hounsfield units, expected HU" if unit else ""


def _incomplete(first: Rescale, *, is_hounsfield: bool, is_enhanced: bool) -> str:
    """What the slices lack, which agree about it."""
    if first.is_table:
        return ""
    missing = [keyword for keyword, value in zip(DEFAULTS, first, strict=False) if value is None]
    if is_enhanced and len(missing) == 1:
        return f"the frames have no {missing[0]}, expected both RescaleSlope and RescaleIntercept"
    if is_hounsfield and first.intercept is None:
        return f"found CT without {' and '.join(missing)}, so its Hounsfield units are unknown, expected both"
    if is_hounsfield and first.slope == 0:
        return "RescaleSlope is 0, so all Hounsfield units are the same, expected another number"
    return ""
