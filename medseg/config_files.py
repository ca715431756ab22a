"""Configuration files: read strictly, found in a clone and in a wheel, printed whole with their meanings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from medseg.config import Config
from medseg.errors import ConfigError
from medseg.plain_yaml import YamlError, parse_yaml, read_short, shown

_WIDTH = 118


def _config_dir() -> Path:
    """``configs/`` beside the package of a clone, or inside the package that was installed from a wheel."""
    package = Path(__file__).parent
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Names of the configs that come with medseg."""
    return sorted(path.stem for path in _config_dir().glob("*.yaml"))


def config_summary(name: str) -> str:
    """What a config that comes with medseg is for: the first line of its file."""
    return (_config_dir() / f"{name}.yaml").read_text("utf-8").splitlines()[0].lstrip("# ")


def config_text(config: Config) -> str:
    """Every setting with its value and its meaning, as YAML that `load_config` reads back to the same config."""
    lines = []
    for section, values in config:
        lines += ["", f"{section}:", *_section_lines(values)]
    return "\n".join(lines[1:]) + "\n"


def _section_lines(values: BaseModel) -> Iterator[str]:
    for name, field in type(values).model_fields.items():
        yield from textwrap.wrap(field.description or "", _WIDTH, initial_indent="  # ", subsequent_indent="  # ")
        value = yaml.safe_dump(values.model_dump(mode="json")[name], default_flow_style=True, width=1000)
        yield f"  {name}: {value.removesuffix('...' + chr(10)).strip()}"


def load_config(name_or_file: str = "generic", changes: Sequence[str] = ()) -> Config:
    """Read a config that comes with medseg by its name, or any YAML file, and apply ``a.b=value`` changes.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key or value out of range, each by its path.
    """
    values = _read_yaml(name_or_file)
    for change in changes:
        _apply(values, change)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read_yaml(name_or_file: str) -> dict[str, Any]:
    shipped = _config_dir() / f"{name_or_file}.yaml"
    file = Path(name_or_file)
    try:
        text = read_short(shipped if shipped.is_file() else file)
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"config {name_or_file!r}: found neither a config of that name nor a readable file; "
            f"take one of {', '.join(config_names())} or the path of a YAML file"
        ) from None
    try:
        values = parse_yaml(text)
    except YamlError as error:
        raise ConfigError(f"config {name_or_file!r}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config {name_or_file!r}: found {type(values).__name__}, expected keys with values")
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """Set one ``a.b=value`` in nested `values`; the value is read as YAML."""
    key, equals, text = change.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"--set {change}: expected section.key=value, for example clustering.n_clusters=6")
    try:
        value = parse_yaml(text)
    except YamlError as error:
        raise ConfigError(f"--set {key}: the value {error}") from None
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change}: {section} is no section")
    values[last] = value


def _explain(error: ValidationError) -> str:
    """Every problem in one line: path, what was found, what was expected."""
    problems = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"]) or "config"
        message = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        problems.append(f"{path}: {message}, found {shown(item['input'])}")
    return "config: " + "; ".join(problems)
