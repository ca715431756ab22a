"""Which images of a BIDS dataset are worked on: by participant, session, suffix, and the filter files of NiPreps.

A filter file is the one that fMRIPrep, sMRIPrep and MRIQC take (``--bids-filter-file``): for each query such as ``t1w``
the values of entities by their names in PyBIDS, ``null`` for none and ``"*"`` for any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import ConfigError
from medseg.io.bids import entities_of
from medseg.io.scan import Scan

ENTITIES = {
    "subject": "sub", "session": "ses", "acquisition": "acq", "ceagent": "ce", "reconstruction": "rec", "run": "run",
    "part": "part", "echo": "echo", "inv": "inv", "flip": "flip", "mt": "mt", "sample": "sample", "task": "task",
    "tracer": "trc", "modality": "mod", "suffix": "suffix",
}  # fmt: skip
"""Names of PyBIDS and the entities that they stand for."""
IGNORED = ("datatype", "extension", "space", "desc")
"""What PyBIDS filters by and structural images of a raw dataset all have, or none has."""
QUERIES = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw", "t2star": "T2starw"}
"""Queries of NiPreps for structural images, and the suffix that they look for unless the file says another."""
Wanted = Mapping[str, tuple[str | None, ...]]
"""Values that an entity may have; None: that it is not there."""
ANY = "*"


@dataclass(frozen=True)
class BidsChoice:
    """What is wanted; nothing of a kind means everything.

    Attributes:
        participants: labels without ``sub-``.
        sessions: labels without ``ses-``.
        suffixes: such as ``T1w``.
        filters: for each suffix the values of entities.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    filters: Mapping[str, Wanted] = field(default_factory=dict)

    def __call__(self, scans: Sequence[Scan]) -> list[Scan]:
        """The scans that are wanted.

        Raises:
            ConfigError: a participant or a session is not there.
        """
        known = [(scan, entities_of(scan.id)) for scan in scans]
        _check("sub", self.participants, [entities.get("sub", "") for _, entities in known])
        chosen = [(scan, entities) for scan, entities in known if _is_in(entities, "sub", self.participants)]
        _check("ses", self.sessions, [entities.get("ses", "") for _, entities in chosen])
        chosen = [(scan, entities) for scan, entities in chosen if _is_in(entities, "ses", self.sessions)]
        return [
            scan for scan, entities in chosen
            if _is_in(entities, "suffix", self.suffixes) and self._passes(entities)
        ]  # fmt: skip

    def _passes(self, entities: Mapping[str, str]) -> bool:
        wanted = self.filters.get(entities.get("suffix", ""), {})
        return all(_matches(entities.get(name), values) for name, values in wanted.items())


def without_prefix(labels: Sequence[str], entity: str) -> tuple[str, ...]:
    """``sub-01`` and ``01`` as ``01``; a label with blanks is several."""
    every = [label for text in labels for label in text.split()]
    return tuple(dict.fromkeys(label.removeprefix(f"{entity}-") for label in every))


def read_filter_file(path: Path) -> dict[str, Wanted]:
    """The filters of a file for structural images, by suffix; other queries (``bold``, ``fmap``) are left out.

    Raises:
        ConfigError: not readable, or a name that no structural image has.
    """
    try:
        queries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{path}: found no readable JSON file, expected a filter file such as "
                          '{"t1w": {"acquisition": "hi"}}; check it') from None  # fmt: skip
    if not isinstance(queries, dict) or not all(isinstance(query, dict) for query in queries.values()):
        raise ConfigError(f'{path}: found other JSON, expected queries such as {{"t1w": {{"session": "a"}}}}; check it')
    return {
        str(query.get("suffix", suffix)): _wanted(path, name, query)
        for name, query in queries.items()
        if (suffix := QUERIES.get(name.lower())) is not None
    }


def _wanted(path: Path, name: str, query: Mapping[str, object]) -> Wanted:
    unknown = [key for key in query if key not in ENTITIES and key not in IGNORED]
    if unknown:
        raise ConfigError(f"{path}: found {', '.join(unknown)} in {name}, expected some of {', '.join(ENTITIES)}; "
                          "check the spelling")  # fmt: skip
    return {ENTITIES[key]: _values(key, value) for key, value in query.items() if key in ENTITIES}


def _values(key: str, value: object) -> tuple[str | None, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(None if one is None else str(one).removeprefix(f"{ENTITIES[key]}-") for one in values)


def _matches(found: str | None, values: Sequence[str | None]) -> bool:
    """Whether an entity has one of the values; numbers may have zeros before them."""
    if ANY in values:
        return found is not None
    if found is None:
        return None in values
    return any(value is not None and _plain(value) == _plain(found) for value in values)


def _plain(label: str) -> str:
    return label.lstrip("0") if label.isdigit() else label


def _is_in(entities: Mapping[str, str], name: str, wanted: Sequence[str]) -> bool:
    return not wanted or entities.get(name) in wanted


def _check(entity: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    missing = [f"{entity}-{label}" for label in wanted if label not in there]
    if missing:
        known = sorted({f"{entity}-{label}" for label in there if label})
        listed = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        raise ConfigError(f"found no image of {', '.join(missing)}, expected some of {listed or 'no ' + entity}; check "
                          "the labels")  # fmt: skip
