"""YAML of strangers, read within bounds: plain data of a size and depth that settings and label tables have.

PyYAML follows aliases into themselves, lets them unfold without end, and ends in a `RecursionError` where too deep.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

MOST_LETTERS, MOST_VALUES, MOST_DEPTH = 1 << 20, 20_000, 32
"""Of one document; values are counted after aliases are unfolded. The largest of our own has 130 values, 3 deep."""


class YamlError(ValueError):
    """A text that is no YAML, or none within bounds; a clause without its subject."""


def read_short(path: Path) -> str:
    """The text of a file, and no more of it than `parse_yaml` would take: some files have no end.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    with path.open("rb") as file:
        return file.read(4 * MOST_LETTERS + 1).decode("utf-8")


def parse_yaml(text: str) -> Any:
    """What a text of one document holds.

    Raises:
        YamlError: no YAML, a value that cannot be, a key that is there twice, too much, too deep, or endless.
    """
    if len(text) > MOST_LETTERS:
        raise YamlError(f"is longer than {MOST_LETTERS} letters")
    try:
        _check_nesting(text)
        _check_size(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise YamlError(f"is not valid YAML ({' '.join(str(error).split())[:300]})") from None
    except YamlError:
        raise
    except (ValueError, OverflowError) as error:  # a date of month 99, a number of 5000 digits
        raise YamlError(f"holds a value that cannot be ({str(error)[:100]})") from None


def _check_nesting(text: str) -> None:
    """What is composed later is composed by recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise YamlError(f"is nested more than {MOST_DEPTH} deep")


def _check_size(root: Any) -> None:
    known: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def measure(node: Any) -> tuple[int, int]:
        """Values and levels that a node unfolds to; one that is used again is not walked through again."""
        if id(node) in open_nodes:
            raise YamlError("refers to itself")
        if id(node) not in known:
            open_nodes.add(id(node))
            inner = [measure(part) for part in _inner(node)]
            open_nodes.remove(id(node))
            size = 1 + sum(values for values, _ in inner)
            depth = 1 + max((levels for _, levels in inner), default=0)
            if size > MOST_VALUES:
                raise YamlError(f"unfolds to more than {MOST_VALUES} values")
            if depth > MOST_DEPTH + 1:  # what is inside the innermost collection counts too
                raise YamlError(f"is nested more than {MOST_DEPTH} deep")
            known[id(node)] = size, depth
        return known[id(node)]

    if root is not None:
        measure(root)


def _inner(node: Any) -> list[Any]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return []


def shown(value: object) -> str:
    """A value for a message, shortened."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)
