"""Segments of a DICOM segmentation: what each label is called, coded and coloured."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from medseg.labels.table import Code, Label, category_and_type
from medseg.version import __version__

MAX_TEXT = 64
"""Characters of a long string (LO, PS3.5 6.2)."""


def describe_segments(labels: Iterable[tuple[int, Label]], model: str) -> list[Any]:
    """Describe each (segment number, label) for highdicom: name, coded type, colour, algorithm.

    Args:
        model: fingerprint of the model, kept as a parameter of the algorithm; ``""`` for none.
    """
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    algorithm = algorithm_identification(model)
    descriptions = []
    for number, label in labels:
        category, kind = category_and_type(label)
        descriptions.append(
            SegmentDescription(
                segment_number=number,
                segment_label=clean_text(label.name),
                segmented_property_category=_concept(category),
                segmented_property_type=_concept(kind),
                algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                display_color=CIELabColor.from_rgb(*label.color),
            )
        )
    return descriptions


def algorithm_identification(model: str) -> Any:
    """What made the segments: medseg, its version and the fingerprint of the model (PS3.3 10.16)."""
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        name="medseg",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="medseg",
        parameters={"model": model} if model else None,
    )


def _concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(clean_text(code.value), clean_text(code.scheme, 16), clean_text(code.meaning))


def clean_text(text: str, longest: int = MAX_TEXT) -> str:
    r"""One line without ``\``, which separates values in DICOM, and without control characters."""
    return re.sub(r"[\x00-\x1f\x7f\\\s]+", " ", text).strip()[:longest].strip() or "-"
