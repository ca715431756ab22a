"""Model folders as a stranger could make them: changed, with digests that fit the change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from medseg.io.tensors import load_tensors, save_tensors
from medseg.model.marker import digest_of


def change_facts(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what ``model.json`` holds."""
    facts = json.loads((folder / "model.json").read_text("utf-8"))
    change(facts)
    (folder / "model.json").write_text(json.dumps({**facts, "digest": digest_of(facts)}))


def change_tensors(folder: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change tensors of a file."""
    tensors = load_tensors(folder / name)
    change(tensors)
    digest = save_tensors(tensors, folder / name)
    change_facts(folder, lambda facts: facts["tensors"].update({name: digest}))
