"""`medseg label`: what is to change in the labels of a model, from the words of the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.errors import ConfigError

if TYPE_CHECKING:
    from medseg.model.model import Model
from medseg.labels.table import Code


@dataclass(frozen=True)
class Changes:
    """What the user wants: by label number; `merges` maps a label to the one it becomes part of; `cut` comes first."""

    names: dict[int, str]
    colors: dict[int, tuple[int, int, int]]
    codes: dict[int, Code]
    merges: dict[int, int]
    cut: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        names: Sequence[str],
        colors: Sequence[str],
        codes: Sequence[str],
        merges: Sequence[str],
        cut: int | None = None,
    ) -> Changes:
        """From the words of the command line.

        Raises:
            ConfigError: a word that does not have the form that the flag needs.
        """
        merged: dict[int, int] = {}
        for text in merges:
            target, *others = _numbers(text, f"--merge {text}: expected label numbers such as 4,5", least=2)
            merged.update(dict.fromkeys(others, target))
        return cls(
            names=dict(_assignment(text, "--name", '3="white matter"') for text in names),
            colors={n: _color(n, value) for n, value in (_assignment(t, "--color", "3=230,230,230") for t in colors)},
            codes={
                n: _code(n, value) for n, value in (_assignment(t, "--code", "3=389080008:White matter") for t in codes)
            },
            merges=merged,
            cut=cut,
        )

    @property
    def as_json(self) -> str:
        """The same changes are the same text."""
        codes = {number: code.model_dump() for number, code in self.codes.items()}
        return json.dumps([self.names, self.colors, codes, self.merges, self.cut], sort_keys=True)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to change."""
        return not (self.names or self.colors or self.codes or self.merges or self.cut)

    def followed_by(self, later: Changes) -> Changes:
        """These changes and then `later`, which wins where both speak."""
        return Changes(self.names | later.names, self.colors | later.colors, self.codes | later.codes,
                       self.merges | later.merges, later.cut or self.cut)  # fmt: skip

    def apply(self, model: Model) -> Model:
        """The model under the changed label table."""
        model = model if self.cut is None else model.cut_to(self.cut)
        merges = {source: target for source, target in self.merges.items() if model.scheme.merged.get(source) != target}
        model = model.relabelled(model.table, merges)
        table = model.table
        for number, name in self.names.items():
            table = table.replace(number, name=name)
        for number, color in self.colors.items():
            table = table.replace(number, color=color)
        for number, code in self.codes.items():
            table = table.replace(number, code=code)
        return model.relabelled(table, {})


def _assignment(text: str, flag: str, example: str) -> tuple[int, str]:
    number, equals, value = text.partition("=")
    if not equals or not number.strip().isdigit() or not value.strip():
        raise ConfigError(f"{flag} {text}: expected NUMBER=VALUE, for example {example}")
    return int(number), value.strip().strip("\"'")


def _numbers(text: str, message: str, least: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < least or not all(part.isdigit() for part in parts):
        raise ConfigError(message)
    return [int(part) for part in parts]


def _color(number: int, text: str) -> tuple[int, int, int]:
    message = f"--color {number}={text}: expected three numbers from 0 to 255, for example 230,230,230"
    values = _numbers(text, message, least=3)
    if len(values) != 3 or max(values) > 255:
        raise ConfigError(message)
    return values[0], values[1], values[2]


def _code(number: int, text: str) -> Code:
    value, colon, meaning = text.partition(":")
    if not colon or not value.strip() or not meaning.strip():
        raise ConfigError(f"--code {number}={text}: expected VALUE:MEANING of SNOMED CT, e.g. 389080008:White matter")
    return Code(value=value.strip(), meaning=meaning.strip())
