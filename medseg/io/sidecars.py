"""JSON files beside NIfTI files, as BIDS and dcm2niix write them: how an image was acquired.

Of a BIDS dataset the files further up count too ("inheritance principle" of BIDS 1.10): ``T1w.json`` at the top says
what holds for every T1w image below it unless a file closer to the image says otherwise. Times are in seconds there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from medseg.errors import one_line
from medseg.io.acquisition import facts_of
from medseg.io.facts import NOTHING, Facts
from medseg.io.scan import FreeText

MOST_BYTES = 1 << 20
"""A larger file is no sidecar."""
DESCRIPTION = "dataset_description.json"
SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "T2star", "PDT2", "inplaneT1", "inplaneT2", "angio", "UNIT1",
            "T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MEGRE", "MESE", "VFA",
            "MP2RAGE")  # fmt: skip
"""Suffixes of structural images that say by themselves what an image is (BIDS 1.10)."""
_MOST_LEVELS = 4
"""Folders that may hold sidecars of an image: its own, that of the session, of the subject, of the dataset."""
_MOST_ENTITIES = 6
_STEM = re.compile(r"(?P<entities>(?:[a-z]+-[A-Za-z0-9]+_)+)(?P<suffix>[A-Za-z0-9]+)")
_SECONDS = {
    "RepetitionTime": ("RepetitionTime", "RepetitionTimePreparation", "RepetitionTimeExcitation"),
    "EchoTime": ("EchoTime",),
    "InversionTime": ("InversionTime",),
}
_LISTS = ("ScanningSequence", "SequenceVariant")
"""Written as a list, as ``SE\\IR``, or as ``SE_IR``."""
_AS_IT_IS = ("Modality", "MRAcquisitionType", "FlipAngle", "ConvolutionKernel", "KVP", "SliceThickness", "Units",
             "ImageType")  # fmt: skip


def sidecar_of(path: Path) -> tuple[Facts, FreeText]:
    """How the image of a NIfTI file was acquired, and what people wrote about it, as far as files beside it say."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    named = _STEM.fullmatch(stem)
    suffix = named["suffix"] if named and named["suffix"] in SUFFIXES else ""
    values: dict[str, Any] = {}
    for place in _places(path.parent, stem, named):
        values |= _read(place)
    if not values and not suffix:
        return NOTHING, FreeText()
    said = [one_line(str(values.get(name) or "")) for name in ("SeriesDescription", "ProtocolName")]
    return facts_of(_texts(values), suffix=suffix), FreeText(*said)


def _texts(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The values as DICOM has them, times in ms."""
    texts = {name: _strings(values[name], r"\\") for name in _AS_IT_IS if name in values}
    texts |= {name: _strings(values[name], r"[\\_]") for name in _LISTS if name in values}
    for name, keys in _SECONDS.items():
        seconds = next((values[key] for key in keys if isinstance(values.get(key), (int, float))), None)
        texts |= {} if seconds is None else {name: (f"{1000 * seconds:.6g}",)}
    agent = values.get("ContrastBolusIngredient") or values.get("ContrastBolusAgent")
    return texts | ({"ContrastBolusAgent": _strings(agent, r"\\")} if agent else {})


def _strings(value: object, separator: str) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else [value]
    return tuple(
        piece for part in parts if isinstance(part, (str, int, float)) for piece in re.split(separator, str(part))
    )


def _places(folder: Path, stem: str, named: re.Match[str] | None) -> Iterator[Path]:
    """Where sidecars of an image can lie, the most general first."""
    levels = [folder, *folder.parents][:_MOST_LEVELS]
    top = next((n for n, level in enumerate(levels) if (level / DESCRIPTION).is_file()), 0) if named else 0
    if named is not None and top:
        entities = named["entities"].rstrip("_").split("_")[:_MOST_ENTITIES]
        subsets = [part for n in range(len(entities) + 1) for part in combinations(entities, n)]
        names = ["_".join((*part, named["suffix"])) for part in subsets]
        yield from (level / f"{name}.json" for level in reversed(levels[: top + 1]) for name in names)
    yield folder / f"{stem}.json"


def _read(path: Path) -> dict[str, Any]:
    """The values of a sidecar; none when it is damaged, which costs the facts and nothing else."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        values = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
