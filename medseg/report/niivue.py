"""The viewer NiiVue, taken from the published package `ipyniivue` when that is installed; never part of medseg.

The package holds NiiVue inside a notebook widget, one JavaScript module that exports only the widget. Browsers load
no modules from a disk, so the module becomes a plain script with one function that returns the class `Niivue`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from medseg.io.atomic import write_text_whole

PACKAGE = "ipyniivue"
_EXPORT = re.compile(r"export\s*\{[^{}]*\};?\s*$")
_CLASS = re.compile(r'"Creating new Niivue instance"\).{0,120}?=\s*new ([\w$]+)\(')


@dataclass(frozen=True)
class Viewer:
    """NiiVue as a script that defines ``loadNiivue``, and its licence."""

    script: str
    licence: str


@lru_cache(maxsize=1)
def viewer() -> Viewer | None:
    """The installed viewer, or None where the package is absent or of another build."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return None
    module, licence = _text(package, "static/widget.js"), _text(package, "LICENSE")
    name = _CLASS.search(module)
    body, n_exports = _EXPORT.subn("", module)
    if not licence or name is None or n_exports != 1:
        return None
    script = f'globalThis.loadNiivue = () => {{ "use strict";\n{body}\nreturn {name[1]};\n}};\n'
    # Inside a page these would end the script; inside strings and expressions the escape changes nothing.
    return Viewer(script.replace("</script", r"<\/script").replace("<!--", r"<\!--"), licence)


def copy_viewer(folder: Path, found: Viewer) -> None:
    """Write ``niivue.js`` and its licence into `folder`, once."""
    for name, text in (("niivue.js", found.script), ("niivue-LICENSE.txt", found.licence)):
        path = folder / name
        if not path.is_file() or path.stat().st_size != len(text.encode()):
            write_text_whole(path, text)


def _text(package: Distribution, ending: str) -> str:
    found = [file for file in package.files or () if str(file).endswith(ending)]
    try:
        return Path(str(package.locate_file(found[0]))).read_text("utf-8") if found else ""
    except (OSError, UnicodeError):
        return ""
