"""The tools that can make brain masks: which of them are here, and which one is taken."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from medseg.config import NO_BRAIN_MASK
from medseg.errors import ConfigError

DEEPBET = "deepbet"
AUTO = "auto"
_GIGABYTE = 1 << 30


class Tool(NamedTuple):
    """A tool for brain extraction.

    Attributes:
        is_program: a program on PATH, rather than a package of this Python.
        install: how to get it.
        memory: bytes that it needs beside medseg for one scan.
    """

    name: str
    is_program: bool
    install: str
    memory: int

    @property
    def is_here(self) -> bool:
        """Whether it is installed."""
        return shutil.which(self.name) is not None if self.is_program else bool(self.version)

    @property
    def version(self) -> str:
        """Of the installed package; empty without, and for programs, which do not all tell theirs."""
        try:
            return "" if self.is_program else version(self.name)
        except PackageNotFoundError:
            return ""

    @property
    def told(self) -> str:
        """Name and version, as records keep it."""
        return " ".join(filter(None, (self.name, self.version)))


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(DEEPBET, False, 'pip install "medseg[brain]"', 1 * _GIGABYTE),
        Tool("hd-bet", True, "pip install hd-bet, into an environment whose programs are on PATH", 6 * _GIGABYTE),
        Tool("mri_synthstrip", True, "install FreeSurfer, and set it up before medseg is called", 6 * _GIGABYTE),
    )
}
"""In the order in which ``auto`` takes the first that is here."""


def chosen_tool(asked: str) -> str:
    """The name of the tool that ``auto``, ``none`` or a name stands for here; empty for none.

    Raises:
        ConfigError: it is not installed.
    """
    if asked == NO_BRAIN_MASK:
        return ""
    if asked == AUTO:
        found = next((tool.name for tool in TOOLS.values() if tool.is_here), "")
        if not found:
            raise ConfigError(
                f"--brain-mask auto: found no tool for brain extraction, expected one of {', '.join(TOOLS)}; "
                f"{TOOLS[DEEPBET].install} brings deepbet, or give brain masks with --masks"
            )
        return found
    if not TOOLS[asked].is_here:
        where = "on PATH" if TOOLS[asked].is_program else "in this Python"
        raise ConfigError(f"--brain-mask {asked}: found it not installed, expected it {where}; {TOOLS[asked].install}, "
                          "or take another tool")  # fmt: skip
    return asked
