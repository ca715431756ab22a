"""The facts of a run as a list: versions, settings, seed, device, command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
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


def facts_list(facts: Mapping[str, Any]) -> str:
    """A definition list of ``run.json``, its settings and plan folded; nothing when there are no facts."""
    items = [
        f"<dt>{escape(title)}</dt><dd>{escape(_as_text(facts[key]))}</dd>\n" for key, title in _SHOWN if key in facts
    ]
    folded = [
        f"<details><summary>{key}</summary><pre>{escape(json.dumps(facts[key], indent=1))}</pre></details>\n"
        for key in ("config", "plan")
        if key in facts
    ]
    return f"<dl>{''.join(items)}</dl>\n{''.join(folded)}" if items or folded else ""


def command_of(facts: Mapping[str, Any]) -> str:
    """The command that made the outputs, as far as it was kept; empty when it was not."""
    return _as_text(facts["command"]) if "command" in facts else ""


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
