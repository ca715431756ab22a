"""The templates of the page and of notebooks (Jinja2); every text that comes from outside is escaped in them."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def fill(template: str, **values: object) -> str:
    """The template of this name, below ``medseg/report/templates``, with its values."""
    return _environment().get_template(template).render(**values)


def ml(value: float) -> str:
    """Millilitres with as many decimals as say something."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def hex_color(color: tuple[int, int, int]) -> str:
    """RGB 0-255 as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def source_hash(text: str) -> str:
    """The hash by which a content security policy allows one inline style or script (W3C CSP level 3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"ml": ml, "hex": hex_color}
    return environment
