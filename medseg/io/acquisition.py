"""`Facts` out of the values of header elements, by DICOM keyword; values that are no defined term are left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medseg.io.facts import Facts

Texts = Mapping[str, Sequence[str]]
"""Values of DICOM elements by keyword."""
SEQUENCES = ("SE", "IR", "GR", "EP", "RM")
"""Defined terms of ScanningSequence (DICOM PS3.3, C.8.3.1): spin echo, inversion recovery, gradient recalled, echo
planar, research mode."""
VARIANTS = ("SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE")
"""Defined terms of SequenceVariant, of which SS is steady state, SP spoiled, MP magnetisation prepared."""
KEYWORDS = (
    *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "RepetitionTime", "EchoTime", "InversionTime"),
    *("FlipAngle", "AngioFlag", "EchoPulseSequence", "EchoPlanarPulseSequence", "SteadyStatePulseSequence"),
    *("ConvolutionKernel", "KVP", "SliceThickness", "Units", "ContrastBolusAgent", "ContrastBolusAgentSequence"),
)
"""Elements of a file as a whole that say something of it; enhanced files say more in functional groups."""
UNITS = ("CNTS", "NONE", "CM2", "CM2ML", "PCNT", "CPS", "BQML", "MGMINML", "UMOLMINML", "MLMING", "MLG", "1CM",
         "UMOLML", "PROPCNTS", "PROPCPS", "MLMINML", "MLML", "GML", "STDDEV")  # fmt: skip
"""Defined terms of Units (DICOM PS3.3, C.8.9.1); GML are standardised uptake values."""
MOST_MS = 100_000.0
"""No repetition, echo or inversion time is longer: what is, was written in another unit."""
IMAGE_TYPES = {
    "phase": ("P", "PHASE", "PHASE MAP", "PHASE SUBTRACT"),
    "map": ("DENSITY MAP", "DIFFUSION MAP", "FIELD MAP", "T1 MAP", "T2 MAP", "VELOCITY MAP", "ADC", "FA"),
    "projection": ("PROJECTION IMAGE", "MIP"),
}
"""Values of ImageType (DICOM PS3.3, C.8.3.1.1.1, and scanners' own) of what is no plain image."""
_NO_AGENT = re.compile(r"no|none|nil|n|0|without|native|unenhanced|non?[ _-].*|not .*|ohne.*|sans.*")
_UNKNOWN_AGENT = re.compile(r"|n/?a|unknown|unbekannt|\W+")


def facts_of(texts: Texts, *, suffix: str = "") -> Facts:
    """The facts in the values of DICOM elements by keyword, times in ms.

    Args:
        suffix: of a BIDS file.
    """
    sequence, variant = _terms(texts, "ScanningSequence", SEQUENCES), _terms(texts, "SequenceVariant", VARIANTS)
    return Facts(
        modality=_word(texts, "Modality"),
        sequence=sequence or _enhanced_sequence(texts),
        variant=variant or _enhanced_variant(texts),
        dimension=next(iter(_terms(texts, "MRAcquisitionType", ("2D", "3D"))), ""),
        tr_ms=_number(texts, "RepetitionTime", most=MOST_MS),
        te_ms=_number(texts, "EchoTime", "EffectiveEchoTime", most=MOST_MS),
        ti_ms=_number(texts, "InversionTime", "InversionTimes", most=MOST_MS),
        flip_deg=_number(texts, "FlipAngle", most=360.0),
        kernel=_kernel(texts.get("ConvolutionKernel", ())),
        kvp=_number(texts, "KVP", most=1000.0),
        thickness_mm=_number(texts, "SliceThickness", most=1000.0),
        units=next(iter(_terms(texts, "Units", UNITS)), ""),
        agent=_agent(texts),
        special=_special(texts),
        suffix=suffix,
    )


def _enhanced_sequence(texts: Texts) -> tuple[str, ...]:
    """The same of enhanced multi-frame files, which say it in several elements (DICOM PS3.3, C.8.13.4)."""
    pulse = _word(texts, "EchoPulseSequence")
    found = {
        "SE": pulse in ("SPIN", "BOTH"),
        "GR": pulse in ("GRADIENT", "BOTH"),
        "IR": _word(texts, "InversionRecovery") == "YES",
        "EP": _word(texts, "EchoPlanarPulseSequence") == "YES",
    }
    return tuple(term for term in SEQUENCES if found.get(term))


def _enhanced_variant(texts: Texts) -> tuple[str, ...]:
    """SP, SS and MTC of enhanced files, each an element whose value NONE, or nothing, denies it."""
    elements = {"SP": "Spoiling", "SS": "SteadyStatePulseSequence", "MTC": "MagnetizationTransfer"}
    return tuple(term for term in VARIANTS if term in elements and _word(texts, elements[term]) not in ("", "NONE"))


def _special(texts: Texts) -> str:
    """What the image is when it is no plain one."""
    if _word(texts, "AngioFlag").startswith("Y"):
        return "angiography"
    types = texts.get("FrameType") or texts.get("ImageType", ())
    values = {value.upper().replace("_", " ") for value in types[2:]}
    return next((name for name, known in IMAGE_TYPES.items() if values & set(known)), "")


def _agent(texts: Texts) -> str:
    """Whether a contrast agent was given; its name is free text and goes nowhere."""
    said = _word(texts, "ContrastBolusAgentAdministered")
    if said in ("YES", "NO"):
        return said.lower()
    named = " ".join(texts.get("ContrastBolusAgent", ())).strip().lower()
    if _UNKNOWN_AGENT.fullmatch(named):
        return "yes" if "ContrastBolusAgentSequence" in texts else "unknown"
    return "no" if _NO_AGENT.fullmatch(named) else "yes"


def _terms(texts: Texts, keyword: str, known: Sequence[str]) -> tuple[str, ...]:
    found = {value.strip().upper() for value in texts.get(keyword, ())}
    return tuple(term for term in known if term in found)


def _word(texts: Texts, keyword: str) -> str:
    """A code string: capitals, digits, underscore, at most 16."""
    return re.sub(r"[^A-Z0-9_]", "", next(iter(texts.get(keyword, ())), "").upper())[:16]


def _number(texts: Texts, *keywords: str, most: float) -> float | None:
    """The first value above 0 of the first element that has one."""
    for keyword in keywords:
        try:
            value = float(next(iter(texts.get(keyword, ())), ""))
        except ValueError:
            continue
        if 0 < value <= most:
            return value
    return None


def _kernel(values: Sequence[str]) -> str:
    return "/".join(filter(None, (re.sub(r"[^A-Za-z0-9.+_-]", "", value)[:16] for value in values)))[:24]
