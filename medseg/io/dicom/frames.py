"""The frames of an enhanced multi-frame file, each as the header that a file of its own would have.

Where a frame lies is said by its functional groups, either shared or its own (DICOM PS3.3, C.7.6.16). Siemens, Philips
and Canon differ in which groups they share and in how many private ones they add; nothing private is read here.
"""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg.io.acquisition import facts_of
from medseg.io.dicom.elements import Texts, floats_of, phase_of, text_of, texts_of
from medseg.io.dicom.header import Header
from medseg.io.dicom.rescale import Rescale, rescale_of

GROUPS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "FrameContentSequence"),
    *("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "MREchoSequence"),
    *("MRModifierSequence", "MRDiffusionSequence", "CardiacSynchronizationSequence", "CTReconstructionSequence"),
    "TemporalPositionSequence",
    *("MRTimingAndRelatedParametersSequence", "CTXRayDetailsSequence", "ContrastBolusUsageSequence"),
)
"""The functional groups that decide where a frame belongs, and how it was acquired."""
NESTED = "DiffusionGradientDirectionSequence"
WHOLE_FILE = ("ImageType",)
"""What enhanced files say for the file as a whole in words that differ from those of the frames."""


def frames_of(header: Header, found: Dataset) -> tuple[Header, ...]:
    """One header a frame; none when the file has no functional groups for each of its frames."""
    own = found.get("PerFrameFunctionalGroupsSequence")
    if not isinstance(own, Sequence) or len(own) != header.n_frames:
        return ()
    whole = {name: value for name, value in texts_of(found).items() if name not in WHOLE_FILE}
    common = _first_item(found.get("SharedFunctionalGroupsSequence"))
    shared = {**whole, **_texts_of_groups(common)}
    header = replace(header, rescale=_rescale(common) or header.rescale)
    return tuple(
        _frame(replace(header, rescale=_rescale(groups) or header.rescale), {**shared, **_texts_of_groups(groups)}, n)
        for n, groups in enumerate(own)
    )


def _rescale(groups: Dataset | None) -> Rescale | None:
    """Slope and intercept as functional groups say them; None where they do not."""
    item = _first_item(groups.get("PixelValueTransformationSequence")) if groups is not None else None
    return rescale_of(item) if item is not None else None


def _frame(header: Header, texts: Texts, number: int) -> Header:
    return replace(
        header,
        image_type=texts.get("FrameType", header.image_type),
        facts=facts_of(texts),
        position_mm=floats_of(texts, "ImagePositionPatient", 3),
        orientation=floats_of(texts, "ImageOrientationPatient", 6),
        pixel_spacing_mm=floats_of(texts, "PixelSpacing", 2),
        phase=phase_of(texts),
        stack=text_of(texts, "StackID"),
        frame=number,
    )


def _texts_of_groups(groups: Dataset | None) -> Texts:
    """The elements of the functional groups that matter, in one dictionary."""
    texts: Texts = {}
    for name in GROUPS:
        item = _first_item(groups.get(name)) if groups is not None else None
        if item is not None:
            texts |= texts_of(item)
            inner = _first_item(item.get(NESTED))
            texts |= texts_of(inner) if inner is not None else {}
    return texts


def _first_item(sequence: object) -> Dataset | None:
    return sequence[0] if isinstance(sequence, Sequence) and len(sequence) else None
