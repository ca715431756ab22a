"""The page of all settings, from the fields of `medseg.config`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from medseg.config import Config
from medseg.config_files import config_names, config_summary, load_config

INTRO = """# Settings

Made from the program when this site is built. `medseg configs brain_t1` prints all settings of a config with their
meanings, `--set section.key=value` changes one, and `--config FILE` takes a YAML file of your own. Unknown keys and
values out of range stop the program with a message that names the key. The files of `configs/` hold only values that
differ from the defaults.

"""
HEAD = ("| setting | values | default | meaning | configs |", "|---|---|---|---|---|")


def page() -> str:
    """All settings and configs as Markdown."""
    lines = [
        "| config | for |",
        "|---|---|",
        *(f"| `{name}` | {config_summary(name)} |" for name in config_names()),
        "",
    ]
    for section, values in Config():
        lines += _section(section, values)
    return INTRO + "\n".join(lines) + "\n"


def _section(section: str, values: BaseModel) -> Iterator[str]:
    summary = (type(values).__doc__ or "").strip().splitlines()[0]
    yield from (f"## {section}", "", summary, "", *HEAD)
    for key, field in type(values).model_fields.items():
        default = getattr(values, key)
        meaning, configs = field.description or "", ", ".join(_differing(section, key, default))
        cells = (f"`{section}.{key}`", allowed(field), f"`{shown(default)}`", meaning, configs)
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""


def _differing(section: str, key: str, default: Any) -> Iterator[str]:
    """The configs that set this key to something else, with their value."""
    for name in config_names():
        value = getattr(getattr(load_config(name), section), key)
        if value != default:
            yield f"{name}: `{shown(value)}`"


def allowed(field: Any) -> str:
    """Type and limits of a field in words."""
    name = re.sub(r"typing\.|<class '(\w+)'>", r"\1", str(field.annotation)).replace("NoneType", "null")
    name = name.replace("None", "null").replace("Literal[", "one of [")
    limits = [str(limit) for limit in field.metadata if not callable(limit)]
    signs = {"Ge": "at least", "Gt": "above", "Le": "at most", "Lt": "below", "MaxLen": "at most"}
    words = [re.sub(r"(\w+)\(\w+=(.+)\)", lambda m: f"{signs.get(m[1], m[1])} {m[2]}", limit) for limit in limits]
    return ", ".join([f"`{name}`", *words])


def shown(value: Any) -> str:
    """A value as YAML writes it in one line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|").strip()
