"""The values of the few DICOM elements that say where an image lies and which volume of its series it is part of."""

from __future__ import annotations

import logging

from pydicom.dataset import Dataset

log = logging.getLogger(__name__)

Texts = dict[str, tuple[str, ...]]

PHASE_KEYWORDS = {
    "type": ("ImageType", "FrameType"),
    "echo": ("EchoTime", "EffectiveEchoTime"),
    "inversion": ("InversionTime", "InversionTimes"),
    "b": ("DiffusionBValue", "SiemensBValue", "PhilipsBValue", "GEBValue"),
    "direction": ("DiffusionGradientOrientation", "SiemensDirection"),
    "phase": ("NominalPercentageOfCardiacPhase",),
    "trigger": ("TriggerTime", "NominalCardiacTriggerDelayTime"),
    "time": ("TemporalPositionIdentifier", "TemporalPositionIndex"),
    "acquisition": ("AcquisitionNumber",),
    "kernel": ("ConvolutionKernel",),
}
"""What tells the volumes of one series apart, in the order in which it is tried, and which elements may say it."""
PRIVATE = {
    0x0019100C: "SiemensBValue",
    0x0019100E: "SiemensDirection",
    0x20011003: "PhilipsBValue",
    0x00431039: "GEBValue",
}
"""Where scanners wrote the b-value before DICOM had a place for it."""
CREATORS = (0x00190010, 0x20010010, 0x00430010)
"""Without the name of their maker private elements have no type."""
CODED = ("ContrastBolusAgentSequence",)
"""Sequences of codes of which it matters only whether they hold any."""
GE_B_VALUE_OFFSET = 1e9
"""GE adds this to b-values to mark them."""
MAX_NUMBER = 1e6
"""No position or spacing in mm is larger; also refuses NaN and infinity."""


def texts_of(found: Dataset) -> Texts:
    """The values of each element by keyword, as stripped strings; sequences and unreadable elements are left out.

    Of the sequences `CODED` that hold something there is an empty string.
    """
    texts: Texts = {}
    for tag in list(found.keys()):
        try:
            element = found[tag]
            if element.VR == "SQ" or element.is_empty:
                texts |= {element.keyword: ("",)} if element.keyword in CODED and not element.is_empty else {}
                continue
            values = element.value if element.VM > 1 else [element.value]
            texts[PRIVATE.get(tag, element.keyword)] = tuple(str(value).strip() for value in values)
        # One bad element of the few is as good as none; pydicom raises many kinds.
        except Exception as error:
            log.debug("%s cannot be read: %r", tag, error)
    return texts


def text_of(texts: Texts, keyword: str) -> str:
    """The first value of an element, or ``""``."""
    return next(iter(texts.get(keyword, ())), "")


def integer_of(texts: Texts, keyword: str) -> int:
    """The first value of an element as an integer, or 0."""
    try:
        return int(float(text_of(texts, keyword)))
    except (ValueError, OverflowError):
        return 0


def floats_of(texts: Texts, keyword: str, count: int) -> tuple[float, ...]:
    """`count` usable numbers, or none at all."""
    try:
        numbers = tuple(float(text) for text in texts.get(keyword, ()))
    except ValueError:
        return ()
    is_usable = len(numbers) == count and all(abs(number) < MAX_NUMBER for number in numbers)
    return numbers if is_usable else ()


def phase_of(texts: Texts) -> tuple[str, ...]:
    """The value of each of `PHASE_KEYWORDS`, empty where the image does not say it."""
    return tuple(
        _b_value(texts) if name == "b" else "\\".join(_first(texts, keywords))
        for name, keywords in PHASE_KEYWORDS.items()
    )


def _first(texts: Texts, keywords: tuple[str, ...]) -> tuple[str, ...]:
    return next((texts[keyword] for keyword in keywords if texts.get(keyword)), ())


def _b_value(texts: Texts) -> str:
    """The b-value in s/mm2; of the four numbers that GE writes it is the first."""
    try:
        number = float(next(iter(_first(texts, PHASE_KEYWORDS["b"])), ""))
    except ValueError:
        return ""
    return f"{number - GE_B_VALUE_OFFSET if number >= GE_B_VALUE_OFFSET else number:g}"
