"""README and docs are true: their commands parse, their files and configs exist, their Python runs.

The newcomer's walk (slow) runs the README's commands in order on two small phantoms and ends with a named segment.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
from functools import cache
from typing import Any

import pytest

from medseg.cli.main import build_parser, main
from medseg.config_files import config_names
from medseg.io.label_volumes import write_labels
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.scans import write_nifti


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(text):
    """The lines of a page's code blocks and tables that begin with ``medseg``."""
    text = text.replace("\\\n", " ")  # a command may go on in the next line
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if language in {"", "sh"} for line in block.splitlines()]
    quoted = re.findall(r"`(medseg (?:inspect|run|train|segment|label|evaluate|report|pacs) [^`-][^`]*)`", text)
    return [line.split("  #")[0].split(" > ")[0].strip() for line in [*map(str.strip, lines), *quoted]
            if line.startswith("medseg ") and "..." not in line]  # fmt: skip


@cache
def help_of(name: str) -> str:
    """What ``medseg NAME --help`` says; of a flag the help of the whole program."""
    words = ["--help"] if name.startswith("-") else [name, "--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        build_parser().parse_args(words)
    return said.getvalue()


def section(text: str, title: str) -> str:
    """A section of a page, up to the next of its level."""
    return text.split(f"\n## {title}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]


def pages(rootpath):
    """README and everything that is written by hand below it."""
    top = [
        rootpath / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")
    ]
    return [*top, *sorted((rootpath / "docs").rglob("*.md"))]


def test_every_command_parses(request):
    counts: dict[str, int] = {}
    for page in pages(request.config.rootpath):
        for command in commands(page.read_text()):
            words = shlex.split(command)[1:]
            if words[0] != "--xml" and (words[0] != "label" or len(words) > 1):
                try:
                    build_parser().parse_args(words)
                except SystemExit:
                    pytest.fail(f"{page.name}: {command}")
            counts[page.name] = counts.get(page.name, 0) + 1
    assert counts["README.md"] >= 7
    assert {"index.md", "own_scans.md", "naming.md", "bids.md", "batches.md", "slicer.md"} <= set(counts)


def test_every_flag_and_config_in_the_docs_exists(request):
    for page in pages(request.config.rootpath):
        for command in commands(page.read_text()):
            helps = help_of(command.split()[1])
            for flag in re.findall(r"--[a-z][a-z-]+", command):
                assert flag in helps, f"{page.name}: {flag}"
            for name in re.findall(r"--config (\w+)", command):
                assert name in config_names(), f"{page.name}: {name}"


def test_every_link_between_pages_leads_somewhere(request):
    for page in pages(request.config.rootpath):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_target_of_make_exists(request):
    makefile = (request.config.rootpath / "Makefile").read_text()
    for page in ("README.md", "benchmarks/README.md"):
        for target in re.findall(r"`?make ([a-z-]+)", (request.config.rootpath / page).read_text()):
            if target != "for":
                assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_readme_is_short(request):
    assert len((request.config.rootpath / "README.md").read_text().split()) <= 900


def test_the_readme_names_every_config_but_the_tests_own(request):
    text = (request.config.rootpath / "README.md").read_text()
    assert {name for name in config_names() if f"`{name}`" not in text} == {"smoke"}


def test_the_table_of_configs_is_complete(request):
    text = (request.config.rootpath / "docs/own_scans.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) >= set(config_names())


@pytest.mark.slow
def test_the_python_example_runs(request, phantom_scans, tmp_path, monkeypatch):
    (code,) = blocks(request.config.rootpath / "docs/own_scans.md", "python")
    (tmp_path / "scans").symlink_to(phantom_scans / "scans")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("brain_t1", "smoke"), "own_scans.md", "exec"), {})
    assert sorted(p.name for p in tmp_path.glob("*.seg.nrrd")) == ["LPS.seg.nrrd", "RAS.seg.nrrd"]
    assert (tmp_path / "model" / "model.json").is_file()


@pytest.mark.slow
def test_the_python_of_the_docs_runs(request, tmp_path, monkeypatch):
    text = (request.config.rootpath / "docs" / "api.md").read_text()
    code = "".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    for seed in (0, 1):
        write_nifti(phantom(small_grid(28), noise=8.0, seed=seed)[0], tmp_path / "scans" / f"{seed}.nii.gz")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "api.md", "exec"), names)
    assert (tmp_path / "labels_seg.nii.gz").is_file()
    assert names["model"].own.names == ("GaussianSmooth",)
    assert names["latents"].shape[1] == names["model"].config.autoencoder.n_components
    for command in commands(text):
        assert main(shlex.split(command.replace("model/", "smooth_model/"))[1:]) == 0, command


def test_the_labels_yaml_of_the_docs_is_one(request, tmp_path):
    from medseg.cli.label_file import read_label_file

    text = (request.config.rootpath / "docs" / "naming.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "labels.yaml").write_text(block)
    changes = read_label_file(tmp_path / "labels.yaml")
    assert (changes.names[3], changes.merges) == ("white matter", {2: 1})


def named_in_slicer(path):
    """Names of the segments as 3D Slicer reads them; None without Slicer."""
    python = os.environ.get("MEDSEG_SLICER_PYTHON")
    if not python:
        return None
    code = (
        "import slicer, sys; scene = slicer.vtkMRMLScene()\n"
        "logic = slicer.vtkSlicerSegmentationsModuleLogic(); logic.SetMRMLScene(scene)\n"
        "node = logic.LoadSegmentationFromFile(sys.argv[1], True)\n"
        "found = node.GetSegmentation()\n"
        "print('NAMES', '|'.join(found.GetNthSegment(n).GetName() for n in range(found.GetNumberOfSegments())))\n"
    )
    done = subprocess.run([python, "-c", code, str(path)], capture_output=True, text=True, timeout=300, check=False)
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("NAMES")] or [done.stderr[-500:]]
    return line.removeprefix("NAMES ").split("|")


@pytest.mark.slow
def test_the_walk_of_a_newcomer(request, tmp_path, monkeypatch):
    """The quick start of the README, then the steps of own_scans.md, in their order, on two tiny phantoms."""
    for seed in (0, 1):
        image, truth = phantom(small_grid(28), noise=8.0, seed=seed)
        for folder in ("scans", "more_scans"):
            write_nifti(image, tmp_path / folder / f"scan{seed}.nii.gz")
        write_labels(truth, small_grid(28), tmp_path / "truths" / f"scan{seed}.nii.gz")
    (tmp_path / "labels.yaml").write_text("labels:\n  3:\n    name: white matter\n")  # as the report saves it
    monkeypatch.chdir(tmp_path)
    walked = []
    quick_start = section((request.config.rootpath / "README.md").read_text(), "Quick start")
    own_scans = (request.config.rootpath / "docs/own_scans.md").read_text()
    for command in commands(quick_start + own_scans):  # test_newcomer.py walks the clone
        words = shlex.split(command)[1:]
        if words[0] in {"pacs", "slicer"} or {"bids/", "heads/"} & set(words):  # a server, Slicer, a dataset, T1 heads
            continue
        words = ["smoke" if word in {"brain_t1", "body_ct"} else word for word in words]
        words = ["nifti,mrb" if word == "nifti,dicomseg,mrb" else word for word in words]  # phantoms are no DICOM
        has_no_suggestion = "--accept" in words  # the phantoms are smaller than any brain
        assert main(words) == (2 if has_no_suggestion else 0), command
        walked.append(words[0])
        if words[0] == "label" and "--name" in words:
            path = tmp_path / "out" / "scan0.seg.nrrd"
            assert b"Name:=white matter" in path.read_bytes()[:4000]
            names = named_in_slicer(path)
            assert names is None or "white matter" in names
    assert walked[:2] == ["inspect", "run"]
    assert {"train", "segment", "label", "evaluate", "report"} <= set(walked)
    assert (tmp_path / "out" / "report.html").is_file()
