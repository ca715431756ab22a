"""The facts of a run as a list: versions, settings, seed, device, command."""

from __future__ import annotations

import json
import re
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
_ABSOLUTE = re.compile(r"^(.*=)?(/|~|[A-Za-z]:[\\/]|\\\\)")


def facts_list(facts: Mapping[str, Any]) -> str:
    """A definition list of ``run.json``, its settings and plan folded; nothing when there are no facts."""
    items = [
        f"<dt>{escape(title)}</dt><dd>{escape(_as_text(facts[key]))}</dd>\n" for key, title in _SHOWN if key in facts
    ]
    folded = [
        f"<details><summary>{key}</summary>"
        f"<pre>{escape(json.dumps(_without_paths(facts[key]), indent=1))}</pre></details>\n"
        for key in ("config", "plan")
        if key in facts
    ]
    return f"<dl>{''.join(items)}</dl>\n{''.join(folded)}" if items or folded else ""


def command_of(facts: Mapping[str, Any]) -> str:
    """The command that made the outputs, as far as it was kept; empty when it was not."""
    return _as_text(facts["command"]) if "command" in facts else ""


def _as_text(value: Any) -> str:
    clean = _without_paths(value)
    if isinstance(clean, Mapping):
        return ", ".join(f"{name} {version}" for name, version in clean.items())
    return " ".join(map(str, clean)) if isinstance(clean, list) else str(clean)


def _without_paths(value: Any) -> Any:
    """The value without absolute paths, which may tell names; earlier versions wrote some."""
    if isinstance(value, Mapping):
        return {str(key): _without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    return "PATH" if isinstance(value, str) and _ABSOLUTE.match(value) else value
