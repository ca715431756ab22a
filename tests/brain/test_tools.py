"""Which tool is taken: the first that is here, the one that is named, or one sentence that says what to install."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from medseg.brain import tools
from medseg.brain.tools import TOOLS, chosen_tool
from medseg.errors import ConfigError
from tests.support.fake_tools import HD_BET_2, SYNTHSTRIP, FakeTool


@pytest.fixture
def without_tools(tmp_path, monkeypatch):
    """Nothing on PATH, and no package."""

    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tools, "version", version)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_none_asks_for_nothing(without_tools):
    assert chosen_tool("none") == ""


def test_auto_says_what_to_install(without_tools):
    with pytest.raises(ConfigError) as caught:
        chosen_tool("auto")
    assert str(caught.value) == (
        "--brain-mask auto: found no tool for brain extraction, expected one of deepbet, hd-bet, mri_synthstrip; pip "
        'install "medseg[brain]" brings deepbet, or give brain masks with --masks'
    )


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_is_not_here(without_tools, name):
    with pytest.raises(ConfigError, match=f"--brain-mask {name}: found it not installed, expected it") as caught:
        chosen_tool(name)
    assert TOOLS[name].install in str(caught.value)


def test_auto_takes_the_first_that_is_here(without_tools, tmp_path, monkeypatch):
    FakeTool(tmp_path / "bin", "mri_synthstrip", SYNTHSTRIP, monkeypatch)
    assert chosen_tool("auto") == "mri_synthstrip"
    FakeTool(tmp_path / "bin", "hd-bet", HD_BET_2, monkeypatch)
    assert chosen_tool("auto") == "hd-bet"
    assert TOOLS["hd-bet"].told == "hd-bet"
    monkeypatch.setattr(tools, "version", lambda _name: "1.0.2")
    assert chosen_tool("auto") == "deepbet"
    assert TOOLS["deepbet"].told == "deepbet 1.0.2"
    assert chosen_tool("mri_synthstrip") == "mri_synthstrip"
