"""MONAI part by part: only what is asked for is imported, in the processes of the command line.

``import monai`` imports all of it: networks, losses, metrics, apps and what these find installed. That takes seconds in
each process, and medseg needs a tensor class, a reader and some transforms. Here the packages themselves come late: a
module inside them is imported as always, and the first use of a name of a package runs that package's own code. So
code of users, such as own transforms, finds MONAI as it knows it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any

LATE = ("monai", "monai.apps", "monai.data", "monai.networks", "monai.transforms")
_running = RLock()


class _LatePackage(ModuleType):
    """A package whose own code runs when a name is asked for that it does not have yet."""

    def __init__(self, spec: ModuleSpec, loader: Loader) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, loader, spec.origin
        self._loader = loader
        self.__path__ = list(spec.submodule_search_locations or ())
        self.__package__ = spec.name
        self._has_run = False

    def __getattr__(self, name: str) -> Any:
        with _running:
            if self._has_run or (name.startswith("__") and name != "__all__"):
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
            if find_spec(f"{self.__name__}.{name}") is not None:
                return import_module(f"{self.__name__}.{name}")
            self._has_run = True
            self._loader.exec_module(self)
        return getattr(self, name)


def import_monai_late() -> None:
    """Let MONAI be imported part by part from here on; nothing where it is imported already, or is not installed."""
    if "monai" in sys.modules:
        return
    found: list[_LatePackage] = []
    for name in LATE:
        spec = PathFinder.find_spec(name, found[0].__path__ if found else None)
        if spec is None or spec.loader is None:
            return
        found.append(_LatePackage(spec, spec.loader))
    found[0].__dict__["__version__"] = version("monai")
    for package in found:
        sys.modules[package.__name__] = package
        if package is not found[0]:
            setattr(found[0], package.__name__.rpartition(".")[2], package)
