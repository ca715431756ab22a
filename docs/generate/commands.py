"""The page of all commands and flags, from the program's own parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from medseg.cli.main import build_parser

INTRO = """# Commands

Made from the program when this site is built. `medseg COMMAND --help` prints the same.
"""


def page() -> str:
    """All commands as Markdown."""
    return "\n".join([INTRO, *(line for name, parser in subparsers() for line in _command(name, parser))]) + "\n"


def subparsers() -> list[tuple[str, argparse.ArgumentParser]]:
    """Every command with its parser, in the order of the help."""
    groups = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return [(name, parser) for group in groups for name, parser in group.choices.items()]


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, ``--help`` aside."""
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip()
    actions = arguments(parser)
    yield from (f"## medseg {name}", "", _plain(parser.description or ""), "", "```text", usage, "```", "")
    if actions:
        yield from ("| argument | default | meaning |", "|---|---|---|", *map(_row, actions), "")


def _row(action: argparse.Action) -> str:
    values = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = " ".join(values) if isinstance(values, tuple) else str(values)
    takes_value = action.nargs != 0
    spelled = [f"`{flag}{' ' + shown if takes_value else ''}`" for flag in action.option_strings] or [f"`{shown}`"]
    default = action.default
    is_plain = takes_value and isinstance(default, (str, int, float)) and not isinstance(default, bool)
    said = f"`{default}`" if is_plain and default != "" else ""
    meaning = parser_help(action)
    return f"| {_cell(', '.join(spelled))} | {_cell(said)} | {_cell(meaning)} |"


def parser_help(action: argparse.Action) -> str:
    """The help of a flag with its ``%(default)s`` filled in."""
    return _plain((action.help or "") % {**vars(action), "prog": "medseg"})


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("<", "&lt;").replace("*", r"\*")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
