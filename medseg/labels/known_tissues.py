"""Colours and codes of the tissues that are suggested: those that 3D Slicer and DICOM know them by."""

from __future__ import annotations

from typing import NamedTuple

from medseg.labels.table import Code

Color = tuple[int, int, int]


class Tissue(NamedTuple):
    """How a tissue is shown and coded.

    Attributes:
        code: None where DICOM has no code for it as a segment.
    """

    color: Color
    code: Code | None


# Codes: SNOMED CT as DICOM PS3.16 names them, CID 7153 (central nervous system), 7155 (thorax) and 7166 (tissue types).
# Colours: "GenericAnatomyColors" of 3D Slicer (soft tissue: its "tissue"; air: its "gas").
KNOWN: dict[str, Tissue] = {
    "cerebrospinal fluid": Tissue((85, 188, 255), Code(value="65216001", meaning="Cerebrospinal Fluid")),
    "grey matter": Tissue((200, 200, 235), Code(value="389081007", meaning="Gray Matter")),
    "white matter": Tissue((250, 250, 210), Code(value="389080008", meaning="White Matter")),
    "air": Tissue((218, 255, 255), None),
    "lung": Tissue((197, 165, 145), Code(value="39607008", meaning="Lung")),
    "fat": Tissue((230, 220, 70), Code(value="55603005", meaning="Fat")),
    "soft tissue": Tissue((128, 174, 128), Code(value="87784001", meaning="Soft tissue")),
    "bone": Tissue((241, 214, 145), Code(value="3138006", meaning="Bone")),
}
"""By the names that `medseg.labels.suggestions` gives."""
