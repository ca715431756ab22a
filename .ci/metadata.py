"""Readme and addresses of the package, from one setting: `repository` of `[tool.hatch.metadata.hooks.custom]`.

A package index shows the README away from the repository, where relative links lead nowhere. With an address they
become absolute; without one they become plain text, and the package names no address.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def long_description(readme: str, repository: str) -> str:
    """The README with links that work anywhere."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if not repository:
            return "" if picture else text
        return f"{picture}[{text}]({repository}/{'raw' if picture else 'blob'}/main/{target})"

    return LINK.sub(absolute, readme)


def urls(repository: str) -> dict[str, str]:
    """Addresses of the project, none without a repository."""
    pages = {"Repository": "", "Documentation": "/blob/main/docs/index.md", "Changelog": "/blob/main/CHANGELOG.md",
             "Issues": "/issues"}  # fmt: skip
    return {name: f"{repository}{page}" for name, page in pages.items()} if repository else {}


class Metadata(MetadataHookInterface):
    """What hatchling calls."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what `pyproject.toml` calls dynamic."""
        repository = str(self.config.get("repository", "")).rstrip("/")
        text = long_description((Path(self.root) / "README.md").read_text("utf-8"), repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(repository)
