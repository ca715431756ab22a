"""What mkdocs calls while it builds the site: pages made from the program, and pages that lie outside `docs/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs.generate import commands, python, settings, verdicts

ROOT = Path(__file__).parents[2]
MADE = {"commands.md": commands.page, "settings.md": settings.page, "python.md": python.page}
"""Pages that are made from the program at every build."""
OUTSIDE = {"benchmarks.md": "benchmarks/README.md", "changes.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages of the site that lie elsewhere in the project."""
DECISIONS = "decisions/index.md"
TO_SITE = {path: name for name, path in OUTSIDE.items()} | {"README.md": "index.md"}


def on_config(config: Any) -> Any:
    """Put every decision into the navigation."""
    (entry,) = [entry for entry in config["nav"] if "Decisions" in entry]
    entry["Decisions"] = [DECISIONS, *(f"decisions/{path.name}" for path in decisions())]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files in `docs/`."""
    files.append(File.generated(config, DECISIONS, content=list_of_decisions()))
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    for name, path in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text("utf-8")))
    return files


def decisions() -> list[Path]:
    """The files of all decisions, by date."""
    return sorted((ROOT / "docs/decisions").glob("2*.md"))


def list_of_decisions() -> str:
    """The page that leads to all of them."""
    titles = {path: path.read_text("utf-8").splitlines()[0].lstrip("# ") for path in decisions()}
    rows = [
        f"| {path.name[:10]} | [{re.sub(r'^[0-9-]+: ', '', title)}]({path.name}) |" for path, title in titles.items()
    ]
    return "\n".join(["# Decisions", "", "| date | decision |", "|---|---|", *rows]) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the pages of the site, and fill in the table of every verdict."""
    name = page.file.src_uri
    if name == verdicts.PAGE:
        pages = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
        markdown = verdicts.with_every_code(markdown, pages)
    home = ROOT / (OUTSIDE.get(name, f"docs/{name}"))
    depth = name.count("/")
    return re.sub(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)", lambda link: site_link(link, home, depth), markdown)


def site_link(link: re.Match[str], home: Path, depth: int) -> str:
    """A link of a page at `home`, as the site needs it."""
    target = (home.parent / link[1]).resolve()
    inside = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
    anchor = link[2] or ""
    if inside in TO_SITE:
        return f"]({'../' * depth}{TO_SITE[inside]}{anchor if inside != 'README.md' else ''})"
    if inside.startswith("docs/") and home.parent != ROOT / "docs" and ROOT / "docs" not in home.parents:
        return f"]({inside.removeprefix('docs/')}{anchor})"
    return link[0]
