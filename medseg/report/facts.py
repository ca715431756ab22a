"""The facts of a run as a list: versions, settings, seed, device, command."""

from __future__ import annotations

import json
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


def shown_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title, text) of the facts of ``run.json`` that the page tells at once."""
    return [(title, _as_text(facts[key])) for key, title in _SHOWN if key in facts]


def folded_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title, JSON) of those that the page shows when they are asked for."""
    return [(key, json.dumps(facts[key], indent=1)) for key in _FOLDED if key in facts]


def command_of(facts: Mapping[str, Any]) -> str:
    """The command that made the outputs, as far as it was kept; empty when it was not."""
    return _as_text(facts["command"]) if "command" in facts else ""


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
