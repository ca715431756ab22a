"""The house holds: imports point down, nothing in a circle, libraries enter by their door, files stay small.

Each rule is a function from modules to complaints, so that the tests of the rules can hand it modules that break them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

Modules = Mapping[str, ast.Module]

ROOMS = (
    *("errors", "wording", "version", "types", "plain_yaml", "config", "config_files", "labels.table"),
    *("spatial", "runtime", "io"),
    *("preprocessing", "brain", "network", "tissues", "clustering", "labels", "quality", "statistics", "evaluation"),
    *("model", "report"),
    *("batch", "cli", "__main__"),
)
"""Package order is import order: a module imports from its own room and from those before it."""
DOORS = {
    "SimpleITK": ("io",),
    "pydicom": ("io.dicom", "io.dicom_seg", "io.pacs", "io.discovery"),
    "highdicom": ("io.dicom", "io.dicom_seg"),
    "nibabel": ("io", "spatial.geometry", "brain"),
    "pynetdicom": ("io.pacs.dimse",),
    "requests": ("io.pacs.http",),
    "urllib3": ("io.pacs.http",),
    "monai": ("io", "spatial", "runtime", "preprocessing", "brain", "network", "tissues", "clustering", "labels",
              "quality", "statistics", "model", "report", "batch", "cli"),
    "sklearn": ("clustering", "labels.growth", "model", "evaluation"),
    "skimage": ("clustering.regions", "statistics.morphology"),
    "scipy": ("io", "spatial", "preprocessing", "brain", "network", "tissues", "clustering", "labels", "quality",
              "statistics", "evaluation", "model"),
    "zlib_ng": ("io.atomic", "io.compact", "io.label_volumes"),
    "safetensors": ("io.arrays", "io.tensors", "network.autoencoder", "model.bundle"),
    "cc3d": ("labels.cleanup",),
    "fill_voids": ("labels.cleanup", "preprocessing.foreground", "brain.deepbet"),
    "torch.distributed": ("network.training",),
    "distributed": ("batch.cluster",),
    "dask": ("batch.cluster",),
    "tensorboard": ("cli.train_events",),
    "threadpoolctl": ("runtime", "batch", "clustering"),
    "ipyniivue": ("report.niivue",),
    "rich": ("batch.progress", "cli"),
    "PIL": ("report",),
    "jinja2": ("report",),
    "matplotlib": ("report.figure",),
    "vtkmodules": ("report.surface",),
    "yaml": ("plain_yaml", "config_files", "cli.label_file"),
    "pydantic": ("config", "config_files", "labels.table", "preprocessing", "model.folder", "model.marker",
                 "model.record", "quality.reference",
                 "network.training", "report.outcome", "cli.label_file"),
    "argparse": ("cli",),
}  # fmt: skip
EVERYWHERE = {"torch", "numpy"}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "medseg").rglob("*.py")):
        parts = path.relative_to(ROOT / "medseg").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


HOUSE = modules()


@cache
def importing(tree: ast.Module) -> tuple[ast.Import | ast.ImportFrom | ast.Call, ...]:
    """The parts of a module that import; each module is walked once for all rules and probes."""
    found: list[ast.Import | ast.ImportFrom | ast.Call] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in {"import_module", "importlib.import_module"}:
                found.append(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
    return tuple(found)


def imports_of(tree: ast.Module, known: Modules) -> set[str]:
    """Dotted names of all that a module imports: lazily, under TYPE_CHECKING and by name, too."""
    names: set[str] = set()
    for node in importing(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in inner if name.removeprefix("medseg.") in known}
            names |= submodules | ({node.module} if submodules != inner else set())
            names |= inner if node.module == "torch" else set()
        elif isinstance(node, ast.Call):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return names


def own_imports(tree: ast.Module, known: Modules) -> set[str]:
    """Names of modules of the house, without ``medseg.``; the package itself is the empty name."""
    found = {name for name in imports_of(tree, known) if name == "medseg" or name.startswith("medseg.")}
    return {name.removeprefix("medseg").removeprefix(".") for name in found}


def room_of(name: str) -> int:
    fits = [n for n, room in enumerate(ROOMS) if name == room or name.startswith(f"{room}.")]
    return max(fits, key=lambda n: len(ROOMS[n]), default=-1)


def upward(known: Modules) -> Iterator[str]:
    for name, tree in known.items():
        if not name:
            continue  # the package's own names are lazy
        if room_of(name) < 0:
            yield f"{name} has no room"
        for imported in own_imports(tree, known):
            if not imported or room_of(imported) > room_of(name):
                yield f"{name} imports {imported or 'medseg'} from above"


def circles(known: Modules) -> Iterator[str]:
    """Every module that reaches itself."""
    graph = {name: own_imports(tree, known) & set(known) - {name} for name, tree in known.items() if name}
    for name, imported in graph.items():
        reached, left = set(), list(imported)
        while left:
            other = left.pop()
            if other in graph and other not in reached:
                reached.add(other)
                left += graph[other]
        if name in reached:
            yield f"{name} imports itself through {', '.join(sorted(reached & set(graph)))[:200]}"


def outside_their_door(known: Modules) -> Iterator[str]:
    for name, tree in known.items():
        for imported in imports_of(tree, known):
            for library, doors in DOORS.items():
                is_it = imported == library or imported.startswith(f"{library}.")
                if is_it and not any(name == door or name.startswith(f"{door}.") for door in doors):
                    yield f"{name} imports {library}, whose door is {', '.join(doors)}"


def without_a_door(known: Modules) -> Iterator[str]:
    import sys

    for name, tree in known.items():
        for imported in imports_of(tree, known):
            top = imported.split(".")[0]
            if top not in {"medseg", *EVERYWHERE, *DOORS, *sys.stdlib_module_names}:
                yield f"{name} imports {top}, which has no door"


RULES = (upward, circles, outside_their_door, without_a_door)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_holds(rule):
    assert list(rule(HOUSE)) == []


PROBES = {
    "upward": ("spatial.geometry", "from medseg.model.model import Model", upward),
    "upward, lazily": ("io.scan", "def f():\n    from medseg.report import page", upward),
    "upward, for types": ("io.scan", "if TYPE_CHECKING:\n    import medseg.batch.pool", upward),
    "upward, by name": ("network.loss", "import_module('medseg.cli.main')", upward),
    "the package": ("io.scan", "from medseg import Model", upward),
    "a new room": ("drawers.things", "", upward),
    "circle": ("spatial.geometry", "from medseg.spatial.resample import resample", circles),
    "circle, lazily": ("io.scan", "def f():\n    from medseg.io.read import read_scan", circles),
    "circle, for types": ("labels.hierarchy", "if TYPE_CHECKING:\n    import medseg.labels.scheme", circles),
    "unknown library": ("io.nifti", "import pandas", without_a_door),
    **{
        f"door of {library}": ("spatial.chunks" if library != "monai" else "evaluation.overlap",
                               f"def f():\n    from {library} import anything", outside_their_door)
        for library in DOORS if library != "scipy"
    },
    "door of scipy": ("cli.main", "import scipy.ndimage", outside_their_door),
    "door of torch.distributed": ("network.loss", "from torch import distributed", outside_their_door),
}  # fmt: skip


@pytest.mark.parametrize("probe", PROBES)
def test_each_rule_catches_what_breaks_it(probe):
    name, code, rule = PROBES[probe]
    added = ast.parse(code).body
    tree = HOUSE.get(name, ast.Module([], []))
    changed = {**HOUSE, name: ast.Module([*tree.body, *added], [])}
    assert [found for found in rule(changed) if found.startswith(name) or rule is circles]


def functions_of(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    """Name, lines without docstring, parameters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno - len((ast.get_docstring(node) or "").splitlines())
            yield node.name, lines, len(node.args.args) + len(node.args.kwonlyargs)


PATHS = sorted(p for folder in ("medseg", "pipelines") for p in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for name, lines, parameters in functions_of(ast.parse(text)):
        assert lines <= 60, f"{name} has {lines} lines"
        assert parameters <= 8, f"{name} has {parameters} parameters"


PROGRAMS = {"batch", "cli", "__main__", "brain.guard"}
"""What speaks to people or is started as a process of its own, with arguments."""


@pytest.mark.parametrize("name", [name for name in HOUSE if not {name, name.split(".")[0]} & PROGRAMS])
def test_the_library_is_silent_and_loads_no_pickle(name):
    for node in ast.walk(HOUSE[name]):
        assert not isinstance(node, ast.Assert), f"assert in {name}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print"
            assert called not in {
                *("torch.load", "torch.save", "pickle.load", "pickle.loads", "yaml.load", "eval", "exec"),
            }
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"os.environ", "sys.argv"}


def test_no_path_of_this_machine_and_no_drawer_names():
    for path in PATHS:
        assert not re.search(r"/(work|root|home)/", path.read_text()), path
        assert path.name not in {"utils.py", "helpers.py", "common.py", "misc.py"}
