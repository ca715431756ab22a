"""README and docs name what exists: files of the project, settings, modules and functions of medseg.

Each rule is a function from a page's text to complaints, so that the probes can hand it text that breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from medseg.config import Config
from tests.support.paths import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
SETTINGS = {name: set(type(section).model_fields) for name, section in Config()}
KEYS = set().union(*SETTINGS.values())
FOLDERS = ("medseg", "tests", "benchmarks", "docs", "configs", "pipelines", "sample_data", ".github", "slicer")
NOT_OURS = {
    "labels.yaml", "my_config.yaml",  # a user's
    "slicer-modules/medseg_module.py",
    "scripts/autoencoder.py", "configs/metadata.json", "configs/inference.json",  # of a bundle
}  # fmt: skip
DATA = ("csv", "json", "html", "py", "yaml", "ctbl", "txt", "md", "safetensors")
"""Endings that make of `habitats.csv` a file and no setting."""


def quoted(text: str) -> Iterator[str]:
    """What stands in backticks within a line."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def words(text: str) -> Iterator[str]:
    """Words of what stands in backticks, without punctuation at their ends."""
    for tick in quoted(text):
        yield from (word.strip(",;:()") for word in tick.split())


def is_own_file(word: str) -> bool:
    """Whether a word looks like a file of the project: source, settings, pages, or anything in its folders."""
    if word in NOT_OURS or not re.fullmatch(r"[\w./-]+", word):
        return False
    in_folder = "/" in word and word.split("/", maxsplit=1)[0] in FOLDERS
    return in_folder or re.fullmatch(r"[\w/-]+\.(py|sh|toml|yaml|md)", word) is not None


def missing_files(text: str, folder: Path) -> Iterator[str]:
    """Files that are neither beside the page nor at the top of the project nor in the package."""
    for word in words(text):
        if is_own_file(word) and not any((place / word).exists() for place in (folder, ROOT, ROOT / "medseg")):
            yield word


def missing_settings(text: str, _folder: Path) -> Iterator[str]:
    """`section.key`, with or without a value, and `--set section.key=` in blocks of commands."""
    named = [re.match(r"([a-z]+)\.([a-z_]+)(?![\w.(])", word) for word in words(text)]
    given = re.finditer(r"--set \"?([a-z_]+)\.([a-z_]+)=", text)
    for found in [*filter(None, named), *given]:
        section, key = found.groups()
        is_setting = found.group().startswith("--set") or (section in SETTINGS and key not in DATA)
        if is_setting and key not in SETTINGS.get(section, ()):
            yield f"{section}.{key}"


def missing_keys(text: str, _folder: Path) -> Iterator[str]:
    """`key: value`, as a file of settings has it."""
    for tick in quoted(text):
        found = re.fullmatch(r"([a-z_]+): [\w.\[]+.*", tick)
        if found and found[1] not in KEYS | set(SETTINGS):
            yield found[1]


def missing_names(text: str, _folder: Path) -> Iterator[str]:
    """`medseg.a.b`, `from medseg.a import b`, and `python -m benchmarks.a`, in blocks too."""
    dotted = [word for tick in quoted(text) for word in re.findall(r"(?<![\w/.\"])medseg(?:\.[A-Za-z]\w*)+", tick)]
    dotted += [f"{module}.{name}" for module, name in re.findall(r"from (medseg[\w.]*) import (\w+)", text)]
    for name in dotted:
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            yield name
    for module in re.findall(r"python -m ((?:medseg|benchmarks|sample_data)[\w.]*)", text):
        path = ROOT / module.rstrip(".").replace(".", "/")
        if not (path / "__main__.py").is_file() and not path.with_suffix(".py").is_file():
            yield module


RULES = (missing_files, missing_settings, missing_keys, missing_names)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_the_pages_name_exists(rule):
    found = {page.name: list(rule(page.read_text(), page.parent)) for page in PAGES}
    assert {page: complaints for page, complaints in found.items() if complaints} == {}


BROKEN = {
    "a file": ("see `preprocessing/fields.py`", missing_files),
    "a file of a room": ("(`geometry.py`, `model.py`)", missing_files),
    "a page": ("`places.md` says so", missing_files),
    "in a command": ("`pytest tests/test_survival.py`", missing_files),
    "a folder": ("`medseg/drawers/`", missing_files),
    "a setting": ("with `clustering.tissues: scan`", missing_settings),
    "a setting by itself": ("`training.patience_checks` steps", missing_settings),
    "set": ("```\nmedseg run --set clustering.local_mm=3\n```", missing_settings),
    "a section": ("`--set cluster.n_clusters=3`", missing_settings),
    "a key": ("take `tissues: cohort`", missing_keys),
    "a function": ("`medseg.model.segment.strange(model)`", missing_names),
    "an import": ("```python\nfrom medseg.runtime.store import Store\n```", missing_names),
    "a benchmark": ("`python -m benchmarks.speed`", missing_names),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_catches_what_breaks_it(name):
    text, rule = BROKEN[name]
    assert list(rule(text, ROOT / "docs"))


def test_outputs_and_files_of_users_are_not_looked_for():
    text = "`out/report.html`, `habitats.csv`, `model/model.json`, `labels.yaml`, `training.seed`, `OUT/.medseg/pacs-*`"
    assert [complaint for rule in RULES for complaint in rule(text, ROOT / "docs")] == []
