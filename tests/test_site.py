"""The documentation site: its made pages hold everything that the program has, and it builds without a warning."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import medseg
from docs.generate import commands, python, settings, verdicts
from medseg.batch.group_tables import write_group_volumes
from medseg.batch.tables import write_tables
from medseg.cli.main import COMMANDS
from medseg.config import Config
from medseg.config_files import config_names
from medseg.evaluation.scores import Evaluation, write_metrics
from medseg.labels.table import LabelTable
from medseg.report.ratings import COLUMNS as RATINGS
from tests.support.paths import ROOT

HAND = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
CODES = verdicts.codes(ROOT / "medseg")


def test_every_command_and_flag_has_a_row():
    text = commands.page()
    assert [name for name in COMMANDS if f"## medseg {name}\n" not in text] == []
    actions = [action for _, parser in commands.subparsers() for action in commands.arguments(parser)]
    assert {flag for action in actions for flag in action.option_strings if f"`{flag}" not in text} == set()
    assert [f"{'/'.join(action.option_strings)} {action.dest}" for action in actions if not action.help] == []
    assert "%(default)s" not in text
    assert argparse.SUPPRESS not in text


def test_every_setting_has_a_row_with_its_meaning_and_its_configs():
    text = settings.page()
    for section, values in Config():
        for key, field in type(values).model_fields.items():
            (row,) = [line for line in text.splitlines() if line.startswith(f"| `{section}.{key}` |")]
            assert field.description
            assert field.description.split("\n")[0].split("|")[0].strip()[:30] in row
    assert [name for name in config_names() if f"| `{name}` |" not in text] == []
    (row,) = [line for line in text.splitlines() if line.startswith("| `clustering.n_clusters` |")]
    assert "`int`, at least 2, at most 32" in row
    assert "brain_t1: `3`" in row


def test_every_public_name_is_in_the_reference():
    text = python.page()
    assert text.count("\n::: ") == len(medseg.__all__) - 1
    assert "::: medseg.io.discovery.find_scans" in text


def test_every_code_of_the_program_has_a_row_and_every_row_a_code():
    rows = verdicts.rows(HAND)
    assert {"gantry_tilt", "missing_content", "not_aligned", "no_reference", "disk_full", "mosaic"} <= CODES
    assert CODES - set(rows) == set()
    assert set(rows) - CODES == {"ok"}


def test_the_page_of_verdicts_lists_every_code():
    text = verdicts.with_every_code(HAND["verdicts.md"], HAND)
    assert [code for code in CODES if f"| `{code}` |" not in text.split("## Every code")[1]] == []
    assert verdicts.MARK not in text


@pytest.mark.parametrize("source", [
    "raise InputError('x', code='new_code')",
    "CODE = 'new_code'\nraise InputError('x', code=CODE)",
    "Refusal('new_code', reason)",
    "_Fault('new_code', 'found', 'do')",
])  # fmt: skip
def test_a_new_code_is_noticed(tmp_path, source):
    (tmp_path / "new.py").write_text(source)
    assert verdicts.codes(tmp_path) == {"new_code"}


def columns_of(page: str, title: str) -> str:
    return page.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def test_every_column_of_every_table_is_explained(tmp_path):
    table = LabelTable.default(1)
    write_tables(tmp_path, [], table)
    volume = "1 label 1 mm3"
    heads = {path.name: path.read_text("utf-8").splitlines()[0].split(",") for path in tmp_path.glob("*.csv")}
    assert set(heads) == {"manifest.csv", "quality.csv", "places.csv", "volumes.csv", "group.csv", "statistics.csv"}
    for name, columns in heads.items():
        home = "numbers.md" if name in {"volumes.csv", "group.csv", "statistics.csv"} else "tables.md"
        text = HAND[home] if home == "numbers.md" else columns_of(HAND[home], name)
        missing = [column for column in columns if column != volume and f"`{column}`" not in text]
        assert missing == [], name


def test_the_tables_of_evaluation_ratings_and_groups_are_explained(tmp_path):
    write_metrics(Evaluation((), 0, {}), tmp_path / "metrics.csv")
    head = (tmp_path / "metrics.csv").read_text("utf-8").splitlines()[0].split(",")
    assert [column for column in head if f"`{column}`" not in columns_of(HAND["tables.md"], "metrics.csv")] == []
    assert [column for column in RATINGS if f"`{column}`" not in columns_of(HAND["tables.md"], "ratings.csv")] == []
    write_group_volumes(tmp_path, [], LabelTable.default(2))
    head = (tmp_path / "group_volumes.tsv").read_text("utf-8").splitlines()[0].split("\t")
    assert [column for column in head if f"`{column}`" not in columns_of(HAND["tables.md"], "group_volumes.tsv")] == []


def test_every_picture_has_the_command_that_makes_it():
    pictures = {path.name for path in (ROOT / "docs").glob("*.png")}
    assert {name for name in pictures if f"`{name}`" not in HAND["pictures.md"]} == set()
    pages = "\n".join([*HAND.values(), *((ROOT / name).read_text() for name in ("README.md", "benchmarks/README.md"))])
    assert {name for name in pictures if f"{name})" not in pages} == set()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs is not installed; make docs installs it")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # ruff wraps long signatures
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PATH": path}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert not {"python.html", "verdicts.html", "commands.html"} - {
        path.name for path in Path(tmp_path / "site").iterdir()
    }
