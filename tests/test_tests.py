"""Tests of the tests: they use public names, share code by `tests/support`, and wait for no clock.

Each rule is a function from a module to complaints, so that the probes can hand it a module that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PATHS = sorted({*(ROOT / "tests").rglob("*.py")} - {Path(__file__)})  # the probes below are broken on purpose
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}
"""Public in spite of their names: the underscore keeps them apart from the fields."""
OWN = {"self", "cls"}
ACCESS = {"setattr", "delattr", "getattr", "hasattr", "object", "attrgetter"}
"""Functions and methods (of `monkeypatch`, of `mock.patch`) that take the name of an attribute as a string."""
CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "now"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in NAMED_TUPLE


def imports_of(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Dotted name of everything that is imported, and the name it gets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname or alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names)


def programs_of(tree: ast.AST) -> Iterator[ast.AST]:
    """A module, and the programs in its strings, which other processes run."""
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "medseg" in node.value:
            try:
                yield ast.parse(node.value)
            except SyntaxError:
                continue


def private_names(tree: ast.AST) -> Iterator[str]:
    """Names with a leading underscore that are imported from medseg, or touched anywhere but in other libraries."""
    for program in programs_of(tree):
        imported = list(imports_of(program))
        yield from (
            name for name, _ in imported if name.startswith("medseg.") and any(map(is_private, name.split(".")))
        )
        foreign = {given for name, given in imported if name.split(".")[0] not in {"medseg", "tests"}}
        yield from touched(program, foreign | OWN)


def touched(program: ast.AST, allowed: set[str]) -> Iterator[str]:
    """Private attributes, by name or by string, of all that does not begin with an allowed name."""
    for node in ast.walk(program):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node).split(".")[0] not in allowed:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ACCESS:
            owner = ast.unparse(node.args[0]).split(".")[0] if node.args else ""
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            yield from (word for word in words if is_private(word.split(".")[-1]) and owner not in allowed)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^medseg(?:\.\w+)*\._[a-z]\w*", node.value, flags=re.IGNORECASE)


def imported_tests(tree: ast.AST) -> Iterator[str]:
    """Test modules and conftest, from which nothing is imported: what tests share lies in `tests/support`."""
    for name, _ in imports_of(tree):
        parts = name.split(".")
        if parts[0] == "tests" and any(part.startswith("test_") or part == "conftest" for part in parts[1:]):
            yield name


def is_slow(node: ast.AST) -> bool:
    """Whether a function, or a module as a whole, carries the mark."""
    if isinstance(node, ast.FunctionDef):
        return any("mark.slow" in ast.unparse(decorator) for decorator in node.decorator_list)
    marks = (x for x in getattr(node, "body", ()) if isinstance(x, ast.Assign) and "pytestmark" in ast.unparse(x))
    return any("mark.slow" in ast.unparse(mark) for mark in marks)


def reads_clock(node: ast.AST, times: set[str]) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and ast.unparse(part.func).split(".")[-1] in CLOCKS:
            return True
        if isinstance(part, ast.Name) and part.id in times:
            return True
    return False


def times_in(function: ast.FunctionDef) -> set[str]:
    """Variables that hold a time, or something computed from one."""
    times: set[str] = set()
    assigned = [node for node in ast.walk(function) if isinstance(node, (ast.Assign, ast.AugAssign))]
    for node in sorted(assigned, key=lambda node: node.lineno):
        if reads_clock(node.value, times):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            times |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return times


def asserted_times(tree: ast.AST) -> Iterator[str]:
    """Assertions on times in tests of the default run; a deadline of a loop that waits is none."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and not is_slow(node)]
    for function in [] if is_slow(tree) else functions:
        times = times_in(function)
        asserted = (node for node in ast.walk(function) if isinstance(node, ast.Assert))
        yield from (ast.unparse(node) for node in asserted if reads_clock(node.test, times))


RULES = (private_names, imported_tests, asserted_times)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_tests_keep_the_rules(rule):
    found = {str(path.relative_to(ROOT)): list(rule(ast.parse(path.read_text()))) for path in PATHS}
    assert {path: complaints for path, complaints in found.items() if complaints} == {}


BROKEN = {
    "imported": ("from medseg.network.training import _rate", private_names),
    "a private module": ("import medseg._drawer.things", private_names),
    "lazily": ("def f():\n    from medseg.io.scan import _told as told", private_names),
    "of a module": ("from medseg.tissues import bias\nbias._rounds()", private_names),
    "of an object": ("model.fit(3)._weights", private_names),
    "patched": ("monkeypatch.setattr(bias, '_ROUNDS', 3)", private_names),
    "patched by string": ("monkeypatch.setattr('medseg.tissues.bias._ROUNDS', 3)", private_names),
    "fetched": ("getattr(model, '_weights')", private_names),
    "in another process": ("CODE = 'from medseg.io.scan import _told'", private_names),
    "a test module": ("from tests.io.test_nifti import sound", imported_tests),
    "as a module": ("import tests.io.test_nifti as nifti", imported_tests),
    "the fixtures": ("from tests.conftest import cohort", imported_tests),
    "a duration": (
        "def test():\n    t = time.monotonic()\n    s = time.monotonic() - t\n    assert s < 3",
        asserted_times,
    ),
    "in a block": (
        "def test():\n    with f():\n        t = time.time()\n    with f():\n        s = t\n    assert s < 3",
        asserted_times,
    ),
    "at once": ("def test():\n    assert perf_counter() - start < 3", asserted_times),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_catches_what_breaks_it(name):
    code, rule = BROKEN[name]
    assert list(rule(ast.parse(code)))


KEPT = {
    "other libraries": ("from multiprocessing import forkserver\nforkserver._forkserver._pid", private_names),
    "one's own": ("class Fake:\n    def f(self):\n        self._seen = 1", private_names),
    "named tuples": ("scan._replace(id='a')", private_names),
    "dunders": ("model.__class__.__name__", private_names),
    "a wait": (
        "def test():\n    end = time.monotonic() + 60\n    while time.monotonic() < end:\n        f()",
        asserted_times,
    ),
    "slow": ("@pytest.mark.slow\ndef test():\n    assert time.time() < 3", asserted_times),
    "slow as a whole": ("pytestmark = pytest.mark.slow\ndef test():\n    assert time.time() < 3", asserted_times),
}


@pytest.mark.parametrize("name", KEPT)
def test_no_rule_forbids_what_is_right(name):
    code, rule = KEPT[name]
    assert list(rule(ast.parse(code))) == []
