"""``labels.yaml``: names, colours, codes and merges of a model's labels, to keep, to edit, to hand on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medseg.cli.label import Changes
from medseg.errors import ConfigError
from medseg.io.atomic import write_text_whole
from medseg.labels.table import Code
from medseg.plain_yaml import YamlError, parse_yaml, read_short, shown

if TYPE_CHECKING:
    from medseg.model.model import Model

_Number = Annotated[int, Field(ge=1, le=65535)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_HEAD = "# Labels of a model: medseg label MODEL --from labels.yaml\n"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Code(_Strict):
    value: str = Field(min_length=1)
    meaning: str = Field(min_length=1)
    scheme: str = "SCT"


class _Entry(_Strict):
    name: str | None = Field(None, min_length=1)
    color: Annotated[list[_Byte], Field(min_length=3, max_length=3)] | None = None
    code: _Code | None = None
    merge: list[_Number] = []


class _File(_Strict):
    labels: dict[_Number, _Entry]


def read_label_file(path: Path) -> Changes:
    """The changes that the file asks for.

    Raises:
        ConfigError: not readable, no YAML, a key that is unknown or there twice, or a value that does not fit.
    """
    try:
        text = read_short(path)
        values = parse_yaml(text)
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: cannot be read, expected a labels.yaml; check the path") from None
    except YamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    twice = sorted(set(_repeated(yaml.compose(text, Loader=yaml.SafeLoader))))
    if twice:
        raise ConfigError(f"{path}: {', '.join(twice)} is there twice; keep one")
    try:
        found = _File.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None
    return _changes(path, found)


def write_label_file(model: Model, path: Path) -> None:
    """Keep the label table of a model, merges included; reading the file back changes nothing."""
    labels: dict[int, dict[str, Any]] = {}
    for label in model.table:
        entry: dict[str, Any] = {"name": label.name, "color": list(label.color)}
        if label.code is not None:
            entry["code"] = label.code.model_dump()
        merged = sorted(source for source, target in model.scheme.merged.items() if target == label.number)
        labels[label.number] = {**entry, **({"merge": merged} if merged else {})}
    text = yaml.safe_dump({"labels": labels}, sort_keys=False, allow_unicode=True, default_flow_style=None)
    write_text_whole(path, _HEAD + text)


def _changes(path: Path, found: _File) -> Changes:
    targets = Counter(source for entry in found.labels.values() for source in entry.merge)
    twice = [source for source, n in targets.items() if n > 1 or source in found.labels]
    if twice:
        raise ConfigError(f"{path}: label {twice[0]} is merged and used elsewhere; keep one of the two")
    entries = found.labels.items()
    return Changes(
        names={n: " ".join(entry.name.split()) for n, entry in entries if entry.name is not None},
        colors={n: (entry.color[0], entry.color[1], entry.color[2]) for n, entry in entries if entry.color},
        codes={n: Code(**entry.code.model_dump()) for n, entry in entries if entry.code},
        merges={source: n for n, entry in entries for source in entry.merge},
    )


def _repeated(node: Any) -> Iterator[str]:
    """Keys that stand twice in one mapping, of which YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        counts = Counter(str(key.value) for key, _ in node.value)
        yield from (key for key, n in counts.items() if n > 1)
        for _, value in node.value:
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)


def _explain(error: ValidationError) -> str:
    """The first problem: where, what was found, what was expected."""
    item = error.errors()[0]
    where = ".".join(str(part) for part in item["loc"] if part != "[key]") or "the file"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key; a label has name, color, code and merge"
    return f"{where}: {item['msg'].lower()}, found {shown(item['input'])}"
