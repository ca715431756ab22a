"""``model.json`` of a model folder, and the digests that it knows its files by; nothing here needs PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from medseg.config import Config
from medseg.errors import ModelError
from medseg.io.atomic import recover_folder
from medseg.labels.suggestions import suggest_missing
from medseg.labels.table import LabelTable
from medseg.version import __version__

Kind = TypeVar("Kind", bound=BaseModel)
Content = TypeVar("Content")
FORMAT = 1
MARKER, HIERARCHY = "model.json", "hierarchy.safetensors"
MOST_BYTES = 1 << 26
"""Of ``model.json``: a model of 500 scans has 200 KB."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Modality(_Part):
    modality: str


class _Plan(_Modality):
    spacing_mm: tuple[float, float, float]
    window_hu: tuple[float, float] | None = None


class _Training(_Part):
    n_steps: int


class ToldFacts(_Part):
    """The parts of ``model.json`` that people are told (`medseg.model.summary`)."""

    config: Config
    plan: _Plan
    labels: LabelTable
    merged: dict[int, int]
    training: _Training
    fingerprints: tuple[dict[str, Any], ...]
    cut: int | None = None
    pre_transforms: tuple[str, ...] = ()
    tensors: dict[str, str]


class NamedLabels(_Part):
    """What ``model.json`` says of the labels.

    Attributes:
        plan: of it the modality alone.
    """

    labels: LabelTable
    config: Config
    plan: _Modality

    @property
    def suggestions(self) -> dict[int, str]:
        """Suggestions for the labels that have no name yet, by number."""
        chosen = self.config.clustering
        return suggest_missing(self.labels, modality=self.plan.modality, method=chosen.method,
                               n_clusters=chosen.n_clusters)  # fmt: skip


def read_labels_of(folder: Path) -> NamedLabels:
    """The labels of a model folder, its networks left alone.

    Raises:
        ModelError: no model there, damaged, or of a newer format.
    """
    recover_folder(folder)
    return read_marker(folder, NamedLabels)


def read_marker(folder: Path, kind: type[Kind]) -> Kind:
    """What ``model.json`` says, as a `kind`.

    Raises:
        ModelError: it is not there, damaged, of a newer format, or others than medseg have changed it.
    """
    values = _read_values(folder)
    try:
        found = kind.model_validate(values)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise damaged(folder, f"{MARKER} is damaged ({where}: {error.errors()[0]['msg']})") from None
    if values.get("digest") != digest_of(values):
        raise damaged(folder, f"{MARKER} was changed after it was written; names and merges change by medseg label")
    return found


def read_beside(folder: Path, name: str, digests: Mapping[str, str], load: Callable[[Path, str], Content]) -> Content:
    """What `load` makes of another file of the folder, which must be the one that ``model.json`` knows.

    Args:
        digests: SHA-256 of each file by its name.

    Raises:
        ModelError: it is missing, damaged, or belongs to another ``model.json``.
    """
    try:
        return load(folder / name, digests.get(name, ""))
    except PermissionError:
        raise unreadable(folder, name) from None
    except OSError:
        raise damaged(folder, f"{name} is missing") from None
    except ValueError as error:
        raise damaged(folder, f"{name} is damaged, or belongs to another model.json ({error})") from None


def digest_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of what ``model.json`` holds, whatever its layout, but for ``digest`` itself."""
    rest = {name: value for name, value in values.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _read_values(folder: Path) -> dict[str, Any]:
    path = folder / MARKER
    try:
        if path.stat().st_size > MOST_BYTES:
            raise damaged(folder, f"{MARKER} is larger than {MOST_BYTES} bytes")
        values: Any = json.loads(path.read_text("utf-8"))
    except PermissionError:
        raise unreadable(folder, MARKER) from None
    except OSError:
        raise ModelError(f"{folder}: found no {MARKER}, expected a model folder that `medseg train` wrote") from None
    except (ValueError, RecursionError):
        raise damaged(folder, f"{MARKER} is damaged") from None
    if not isinstance(values, dict):
        raise damaged(folder, f"{MARKER} is damaged")
    found = values.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise ModelError(
            f"{folder}: found model format {found} (medseg {values.get('version')}), this medseg {__version__} reads "
            f"up to {FORMAT}; install a newer medseg"
        )
    return values


def damaged(folder: Path, what: str) -> ModelError:
    """The error for a folder that is not as it was written."""
    return ModelError(f"{folder}: {what}; copy the folder again")


def unreadable(folder: Path, name: str) -> ModelError:
    """The error for a file that belongs to somebody else."""
    return ModelError(f"{folder}: no permission to read {name}; ask its owner for it (chmod -R a+rX)")
