"""What the numbers of a label map mean: names, colours, codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medseg.errors import ConfigError, one_line

# Twelve colours that stay apart for most colour-blind readers (after Paul Tol, "Colour schemes", SRON 2021).
_PALETTE = (
    (68, 119, 170), (204, 187, 68), (238, 102, 119), (34, 136, 51), (102, 204, 238), (170, 51, 119),
    (238, 119, 51), (0, 153, 136), (187, 187, 187), (136, 34, 85), (153, 153, 51), (51, 34, 136),
)  # fmt: skip


class Code(BaseModel):
    """A coded concept: SNOMED CT (scheme ``SCT``) unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str = Field(min_length=1)
    meaning: str = Field(min_length=1)
    scheme: str = "SCT"


Byte = Annotated[int, Field(ge=0, le=255)]


class Label(BaseModel):
    """One label: its number in the label map and what people call it.

    Attributes:
        mean_intensity: mean of the training scans' voxels in the unit of the plan's normalised intensity.
        volume_ml: median volume of one training scan.
        stability: Jaccard index with the same label found in halves of the training scans; None: not known.
        verdict: ``stable``, ``unstable``, ``unknown`` or ``empty`` of a habitat that was judged; empty else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1, le=65535)
    name: str = Field(min_length=1)
    color: tuple[Byte, Byte, Byte]
    code: Code | None = None
    mean_intensity: float | None = None
    volume_ml: float | None = None
    stability: float | None = Field(None, ge=0, le=1)
    verdict: str = ""

    @property
    def is_named(self) -> bool:
        """Whether somebody gave it a name of its own."""
        return self.name != f"label {self.number}"

    @field_validator("name", mode="after")
    @classmethod
    def _on_one_line(cls, name: str) -> str:
        """Tables have a line for each label."""
        return one_line(name) or "?"


TISSUE = Code(value="85756007", meaning="Tissue")
ANATOMICAL_STRUCTURE = Code(value="123037004", meaning="Anatomical Structure")


_KINDS_OF_TISSUE = {"55603005", "3138006", "87784001"}
"""Fat, bone and soft tissue: among the types of DICOM CID 7191, whose category is tissue."""


def category_and_type(label: Label) -> tuple[Code, Code]:
    """The coded category and type of a segment (DICOM CID 7150 and 7151): tissue for a label without a code."""
    if label.code is None:
        return TISSUE, TISSUE
    is_tissue = label.code.scheme == "SCT" and label.code.value in _KINDS_OF_TISSUE
    return (TISSUE if is_tissue else ANATOMICAL_STRUCTURE), label.code


class LabelTable(BaseModel):
    """All labels of a model, ordered by number; 0 is the background and never listed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, ...]

    @model_validator(mode="after")
    def _numbers_ascend(self) -> LabelTable:
        numbers = [label.number for label in self.labels]
        if numbers != sorted(set(numbers)):
            raise ValueError(f"label numbers must be unique and ascending, found {numbers}")
        return self

    @classmethod
    def default(cls, n_labels: int) -> LabelTable:
        """Labels 1..n_labels with neutral names and distinct colours."""
        return cls(labels=tuple(
            Label(number=n, name=f"label {n}", color=default_color(n)) for n in range(1, n_labels + 1)
        ))  # fmt: skip

    def __iter__(self) -> Iterator[Label]:  # type: ignore[override]
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> Label:
        for label in self.labels:
            if label.number == number:
                return label
        raise ConfigError(f"label {number} does not exist; this model has {[x.number for x in self.labels]}")

    def replace(self, number: int, **changes: object) -> LabelTable:
        """A table in which label `number` has the given fields changed."""
        self[number]
        return LabelTable(labels=tuple(
            Label(**{**label.model_dump(), **changes}) if label.number == number else label  # type: ignore[arg-type]
            for label in self.labels
        ))  # fmt: skip

    def without(self, numbers: Sequence[int]) -> LabelTable:
        """A table that lacks the labels `numbers`."""
        return LabelTable(labels=tuple(label for label in self.labels if label.number not in numbers))


def default_color(number: int) -> tuple[int, int, int]:
    """The RGB colour (0-255) of label `number` until the user picks one."""
    turn, index = divmod(number - 1, len(_PALETTE))
    red, green, blue = _PALETTE[index]
    fade = 0.65**turn
    return int(red * fade), int(green * fade), int(blue * fade)
