"""The page of all reason codes: those of the program, with the rows that the other pages give them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PAGE = "verdicts.md"
MARK = "<!-- every code -->"
_ROW = re.compile(r"^\| *((?:`[a-z_]+`(?:, )?)+) *\|(.*)\|$", re.MULTILINE)
_HEAD = ("code", "verdict", "refused")
"""First cells of the tables that hold codes."""


def codes(package: Path) -> set[str]:
    """Every reason code that the source of `package` can give.

    Constants given as ``code=`` or ``verdict=``, as the first argument of ``Refusal``, ``Kind`` or ``_Fault``, and
    constants of modules that are given as such.
    """
    trees = [ast.parse(path.read_text("utf-8")) for path in sorted(package.rglob("*.py"))]
    named = {name: value for tree in trees for name, value in _constants(tree)}
    found = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and not _is_measure(node):
                found |= set(_codes_of(node, named))
    return found


def _is_measure(call: ast.Call) -> bool:
    """Whether a ``Kind`` is that of a measure of quality: its second argument is a number."""
    second = call.args[1] if len(call.args) > 1 else None
    return isinstance(second, ast.Constant) and isinstance(second.value, float)


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((target.id, node.value.value) for target in node.targets if isinstance(target, ast.Name))


def _codes_of(call: ast.Call, named: Mapping[str, str]) -> Iterator[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg in {"code", "verdict"}]
    if ast.unparse(call.func).rpartition(".")[2].lstrip("_") in {"Refusal", "Kind", "Fault"}:
        given += call.args[:1]
    for value in given:
        for part in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
            text = named.get(part.id) if isinstance(part, ast.Name) else getattr(part, "value", None)
            if isinstance(text, str) and re.fullmatch(r"[a-z][a-z_]+", text):
                yield text


def rows(pages: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """For each code the pages that have a row for it, and the rest of that row."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, text in pages.items():
        for head, table in _tables(text):
            if head in _HEAD:
                for match in _ROW.finditer(table):
                    for code in re.findall(r"`([a-z_]+)`", match[1]):
                        found.setdefault(code, []).append((name, match[2].strip()))
    return found


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """First cell of the head, and the table, of each table of a page."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.MULTILINE):
        yield table.split("|")[1].strip().strip("`"), table


def with_every_code(text: str, pages: Mapping[str, str]) -> str:
    """The page of verdicts with the table of every code in the place of its mark."""
    lines = ["| code | found | do | page |", "|---|---|---|---|"]
    for code, entries in sorted(rows(pages).items()):
        for page, rest in entries:
            cells = [*rest.split(" | "), "", ""][:2]
            lines.append(f"| `{code}` | {cells[0].strip(' |')} | {cells[1].strip(' |')} | [{page}]({page}) |")
    return text.replace(MARK, "\n".join(lines))
