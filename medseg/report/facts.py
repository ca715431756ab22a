"""The facts of a run as a list: versions, settings, seed, device, command."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_SHOWN = (
    ("medseg", "medseg"),
    ("command", "command"),
    ("device", "device"),
    ("seed", "seed"),
    ("model", "model fingerprint"),
    ("python", "Python"),
    ("packages", "packages"),
    ("platform", "platform"),
)
_FOLDED = ("config", "plan")
_ABSOLUTE = re.compile(r"^(.*=)?(/|~|[A-Za-z]:[\\/]|\\\\)")


def shown_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title, text) of the facts of ``run.json`` that the page tells at once."""
    return [(title, _as_text(facts[key])) for key, title in _SHOWN if key in facts]


def folded_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title, JSON) of those that the page shows when they are asked for."""
    return [(key, json.dumps(_without_paths(facts[key]), indent=1)) for key in _FOLDED if key in facts]


def command_of(facts: Mapping[str, Any]) -> str:
    """The command that made the outputs, as far as it was kept; empty when it was not."""
    return _as_text(facts["command"]) if "command" in facts else ""


def _as_text(value: Any) -> str:
    clean = _without_paths(value)
    if isinstance(clean, Mapping):
        return ", ".join(f"{name} {version}" for name, version in clean.items())
    return " ".join(map(str, clean)) if isinstance(clean, list) else str(clean)


def _without_paths(value: Any) -> Any:
    """The value without absolute paths, which may hold names of patients."""
    if isinstance(value, Mapping):
        return {str(key): _without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    return "PATH" if isinstance(value, str) and _ABSOLUTE.match(value) else value
