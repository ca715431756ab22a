"""The page of the public Python interface: one directive of mkdocstrings for each name of ``medseg.__all__``."""

from __future__ import annotations

import inspect

import medseg

INTRO = """# Python interface

Made from the docstrings when this site is built. Each name is imported from `medseg`, for example
`from medseg import find_scans`. [From Python](api.md) shows how they work together.

"""


def page() -> str:
    """Every public name as Markdown, classes first."""
    names = [name for name in medseg.__all__ if name != "__version__"]
    names.sort(key=lambda name: (not inspect.isclass(getattr(medseg, name)), name))
    return INTRO + "\n".join(f"::: {place(name)}\n" for name in names)


def place(name: str) -> str:
    """Dotted name of what `medseg` offers under `name`."""
    found = getattr(medseg, name)
    return f"{found.__module__}.{found.__qualname__}"
