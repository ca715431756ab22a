"""What an MR image is probably weighted by, from its sequence and times.

The ranges are the usual ones of textbooks for 1.5 and 3 T (T1-weighted spin echo: TR below 800 ms, TE below 30 ms;
T2-weighted: TR above 2 s, TE above 70 ms; a long inversion time nulls fluid, a short one fat). What lies between them,
echo planar and steady-state sequences, and whatever lacks a number get no guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Times(NamedTuple):
    """Repetition, echo and inversion time in ms, flip angle in degrees; None where the files do not say it."""

    tr_ms: float
    te_ms: float
    ti_ms: float | None = None
    flip_deg: float | None = None


def weighting_of(sequence: Sequence[str], variant: Sequence[str], times: Times) -> str:
    """``T1-weighted``, ``T2-weighted``, ``T2-weighted FLAIR``, ``T2*-weighted``, ``PD-weighted``, ``STIR``, or nothing.

    Args:
        sequence: terms of ScanningSequence (``SE``, ``IR``, ``GR``, ``EP``, ``RM``).
        variant: terms of SequenceVariant.
    """
    kinds = set(sequence)
    if not kinds or kinds & {"EP", "RM"} or {"SE", "GR"} <= kinds:
        return ""
    if times.ti_ms is not None and ("IR" in kinds or "MP" in variant):
        return _inverted(times.tr_ms, times.te_ms, times.ti_ms, is_gradient="GR" in kinds)
    if "GR" in kinds:
        return _gradient_echo(variant, times)
    return _spin_echo(times.tr_ms, times.te_ms) if kinds == {"SE"} else ""


def _inverted(tr_ms: float, te_ms: float, ti_ms: float, *, is_gradient: bool) -> str:
    """After an inversion pulse: its time says which tissue is dark."""
    if is_gradient:
        return "T1-weighted" if 300 <= ti_ms <= 1400 and te_ms <= 10 else ""
    if 1200 <= ti_ms <= 3500 and te_ms >= 70 and tr_ms >= 3500:
        return "T2-weighted FLAIR"
    if 80 <= ti_ms <= 300 and tr_ms >= 1500:
        return "STIR"
    return "T1-weighted" if 400 <= ti_ms <= 1400 and te_ms <= 40 else ""


def _gradient_echo(variant: Sequence[str], times: Times) -> str:
    """Without inversion: spoiled and short is T1, long is T2*; a steady state that is not spoiled mixes both."""
    is_prepared, is_spoiled = "MP" in variant, "SP" in variant
    if "MTC" in variant or ({"SS", "TRSS"} & set(variant) and not (is_spoiled or is_prepared)):
        return ""
    if times.te_ms >= 12:
        return "T2*-weighted"
    is_strong = times.flip_deg is None or times.flip_deg >= 8  # a weaker pulse leaves the proton density
    is_t1 = times.tr_ms <= 3000 if is_prepared else is_spoiled and is_strong and times.tr_ms <= 500
    return "T1-weighted" if is_t1 and times.te_ms <= 7 else ""


def _spin_echo(tr_ms: float, te_ms: float) -> str:
    if tr_ms <= 800 and te_ms <= 30:
        return "T1-weighted"
    if tr_ms >= 2000:
        return "T2-weighted" if te_ms >= 70 else "PD-weighted" if te_ms <= 30 else ""
    return ""
