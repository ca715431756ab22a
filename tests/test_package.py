"""What the package says of itself: one version, links that work anywhere, constraints for users and for developers."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from medseg.version import __version__
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
REPOSITORY = "https://example.org/medseg"


@pytest.fixture
def metadata(monkeypatch):
    """The hook that hatchling calls, which lies beside the other files of the build."""
    pytest.importorskip("hatchling")
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    sys.modules.pop("metadata", None)
    import metadata  # type: ignore[import-not-found, unused-ignore]

    return metadata


def names_in(text: str) -> set[str]:
    return {line.split("==")[0].lower().replace("_", "-") for line in text.splitlines() if line and line[0] != "#"}


USERS = names_in((ROOT / "constraints.txt").read_text("utf-8"))
DEVELOPERS = names_in((ROOT / "constraints-dev.txt").read_text("utf-8"))


def test_the_version_stands_in_one_place_and_is_repeated_truly():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "medseg/version.py"
    said = {
        "CITATION.cff": rf"^version: {__version__}$", "Dockerfile": rf"^ARG VERSION={__version__}$",
        "medseg.def": rf"image\.version {__version__}$", "CHANGELOG.md": rf"^## {__version__} \(",
    }  # fmt: skip
    for name, pattern in said.items():
        assert re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE), name


def test_links_of_the_long_description_are_absolute_or_gone(metadata):
    readme = (ROOT / "README.md").read_text("utf-8")
    for repository in (REPOSITORY, ""):
        text = metadata.long_description(readme, repository)
        targets = re.findall(r"\]\(([^)\s]+)\)", text)
        assert targets
        assert [target for target in targets if not target.startswith("https://")] == []
    assert f"]({REPOSITORY}/raw/main/docs/overview.png)" in metadata.long_description(readme, REPOSITORY)
    assert "overview.png" not in metadata.long_description(readme, "")


def test_addresses_come_from_one_setting(metadata):
    assert metadata.urls("") == {}
    assert metadata.urls(REPOSITORY)["Issues"] == f"{REPOSITORY}/issues"
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    assert hook["repository"] == "" or hook["repository"].startswith("https://")


def test_constraints_of_users_and_of_developers_are_apart():
    assert not USERS & DEVELOPERS
    extras = PROJECT["project"]["optional-dependencies"]
    bare = {
        group: {re.split(r"[\[>=<;]", word)[0].lower().replace("_", "-") for word in words}
        for group, words in {**extras, "required": PROJECT["project"]["dependencies"]}.items()
    }
    for group, names in bare.items():
        known = USERS if group not in {"dev", "docs", "validators"} else USERS | DEVELOPERS
        without = {"torch", "medseg", "vtk"}  # chosen in the Makefile; itself; 570 MB that the tests do without
        assert names - known - without == set(), group
    assert {"pytest", "ruff", "mkdocs", "ipython"} <= DEVELOPERS


def test_the_viewer_brings_no_notebook():
    every = [word for words in PROJECT["project"]["optional-dependencies"].values() for word in words]
    assert not [word for word in every if re.match(r"ipyniivue|anywidget|ipywidgets", word)]
    assert not {"ipython", "ipywidgets", "anywidget", "jedi"} & USERS
    (version,) = set(re.findall(r"ipyniivue==([\d.]+)", "".join(
        (ROOT / name).read_text("utf-8") for name in ("Makefile", "Dockerfile", "medseg.def", "docs/dependencies.md")
    )))  # fmt: skip
    assert version


def test_every_dependency_has_its_reason_and_lgpl_is_named():
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    project = PROJECT["project"]
    words = [*project["dependencies"], *(word for words in project["optional-dependencies"].values() for word in words)]
    names = {re.split(r"[\[>=<;]", word)[0] for word in words} - {"medseg"}
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE)} == set()
    for name in ("connected-components-3d", "fill-voids", "fastremap"):
        assert re.search(rf"{name}[^|]*\| \*\*LGPL-3.0\*\*", text), name
    assert "LGPL-3" in (ROOT / "README.md").read_text("utf-8")
