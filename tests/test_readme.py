"""The README is true: its commands parse, its configs exist, its Python runs."""

from __future__ import annotations

import re
import shlex

import pytest
from medseg.pipelines.__main__ import build_parser

from medseg.config import config_names


def blocks(rootpath, language):
    return re.findall(rf"```{language}\n(.*?)```", (rootpath / "README.md").read_text(), flags=re.DOTALL)


def test_every_command_parses(request):
    lines = [line for block in blocks(request.config.rootpath, "") for line in block.splitlines()]
    commands = [line.split("  #")[0].strip() for line in lines if line.startswith("medseg ")]
    assert len(commands) >= 7
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:])


def test_every_target_of_make_exists(request):
    makefile = (request.config.rootpath / "Makefile").read_text()
    for page in ("README.md", "benchmarks/README.md"):
        for target in re.findall(r"`?make ([a-z-]+)", (request.config.rootpath / page).read_text()):
            if target != "for":
                assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_table_of_configs_is_complete(request):
    text = (request.config.rootpath / "README.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) >= set(config_names())


@pytest.mark.slow
def test_the_python_example_runs(request, phantom_scans, tmp_path, monkeypatch):
    (code,) = blocks(request.config.rootpath, "python")
    (tmp_path / "scans").symlink_to(phantom_scans / "scans")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("brain_t1", "smoke"), "README.md", "exec"), {})
    assert sorted(p.name for p in tmp_path.glob("*.seg.nrrd")) == ["LPS.seg.nrrd", "RAS.seg.nrrd"]
    assert (tmp_path / "model" / "model.json").is_file()
