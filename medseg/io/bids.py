"""BIDS (Brain Imaging Data Structure 1.11): which files of a raw dataset are scans, and how a derivative is laid out.

Label maps are "discrete segmentations" of the derivatives part of the standard (suffix ``dseg``); the entity ``seg``
in their names also makes 3D Slicer open them as labels. https://bids-specification.readthedocs.io
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.errors import ConfigError
from medseg.io.atomic import write_text_whole
from medseg.io.scan import Scan
from medseg.labels.table import Label, LabelTable

DESCRIPTION = "dataset_description.json"
VERSION = "1.10.1"
_SCAN = re.compile(
    r"(sub-[A-Za-z0-9]+)(/ses-[A-Za-z0-9]+)?/anat/(sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)_([A-Za-z0-9]+)"
)
_NO_IMAGES = {"mask", "defacemask", "dseg", "probseg", "events"}
# Labels that the standard knows by number and abbreviation ("Common image-derived labels").
_STANDARD = {
    "grey matter": (1, "GM"), "gray matter": (1, "GM"), "white matter": (2, "WM"), "cerebrospinal fluid": (3, "CSF"),
    "csf": (3, "CSF"), "bone": (4, "B"), "soft tissue": (5, "ST"), "non-brain": (6, "NB"), "lesion": (7, "L"),
    "cortical gray matter": (8, "CGM"), "subcortical gray matter": (9, "SGM"), "brainstem": (10, "BS"),
    "cerebellum": (11, "CBM"),
}  # fmt: skip
_README = """Label maps made by medseg without examples. `report.html` shows them, `manifest.csv` says what became of
every scan, the `_dseg.tsv` files name the labels.
"""
_IGNORED = ("manifest.csv", "run.json", "labels.ctbl", "report.html", "report", "log", "model", "metrics.csv",
            "*.seg.nrrd", "*.mrb", "*_confidence.nii.gz", "*_fraction*.nii.gz", "*_finest.nii.gz", "*_anomaly.nii.gz",
             "*_disagreement.nii.gz", "quality.csv", "places.csv", "habitats*.csv", "volumes.csv", "statistics.csv",
             "radiomics.csv", "group.csv", "ratings.csv", "group_*.tsv", "group_*.json")  # fmt: skip


def is_raw_dataset(source: Path) -> bool:
    """Whether a folder says of itself that it is a BIDS dataset, and not a derivative."""
    description = _read(source / DESCRIPTION) if source.is_dir() else {}
    return bool(description) and description.get("DatasetType", "raw") == "raw"


def check_dataset(source: Path) -> None:
    """Refuse a folder that is no BIDS dataset.

    Raises:
        ConfigError: there is no ``dataset_description.json``, or it is of a derivative.
    """
    if not is_raw_dataset(source):
        raise ConfigError(f"{source}: found no {DESCRIPTION} of a raw dataset, expected one for --layout bids; "
                          "use --layout plain")  # fmt: skip


def is_structural(scan: Scan) -> bool:
    """Whether the id of a scan is that of an image below ``sub-*/[ses-*/]anat``."""
    found = _SCAN.fullmatch(scan.id)
    return scan.format == "nifti" and found is not None and found[4] not in _NO_IMAGES


def derivative_stem(scan_id: str, desc: str) -> str:
    """``sub-01/anat/sub-01_T1w`` -> ``sub-01/anat/sub-01_seg-medseg_desc-k6``; entities of the source stay.

    A T1w image is what people expect; any other suffix is told in ``desc``, so that no two scans get one name.

    Raises:
        ValueError: the id is not one of BIDS.
    """
    found = _SCAN.fullmatch(scan_id)
    if found is None:
        raise ValueError(f"{scan_id} is no name of BIDS")
    # "seg" and "desc" follow every entity that a raw image can have; a scan that has them itself keeps none.
    entities = "_".join(part for part in found[3].split("_") if not part.startswith(("seg-", "desc-", "label-")))
    kind = "" if found[4] == "T1w" else found[4]
    return f"{found[1]}{found[2] or ''}/anat/{entities}_seg-medseg_desc-{kind}{desc}"


def entities_of(scan_id: str) -> dict[str, str]:
    """The entities of the name of a structural image, and its ``suffix``; empty when it is none of BIDS.

    ``sub-01/ses-a/anat/sub-01_ses-a_acq-hi_T1w`` -> ``{"sub": "01", "ses": "a", "acq": "hi", "suffix": "T1w"}``.
    """
    found = _SCAN.fullmatch(scan_id)
    if found is None:
        return {}
    return {**dict(part.split("-", 1) for part in found[3].split("_")), "suffix": found[4]}


def brain_mask_stem(scan_id: str) -> str:
    """``sub-01/anat/sub-01_T1w`` -> ``sub-01/anat/sub-01_desc-brain``, as fMRIPrep names it before ``_mask``.

    Raises:
        ValueError: the id is not one of BIDS.
    """
    return derivative_stem(scan_id, "brain").replace("_seg-medseg", "")


def write_mask_sidecar(source: str, path: Path, *, by: str) -> None:
    """Write the ``mask.json`` of a brain mask.

    Args:
        source: path of the scan relative to its dataset.
        by: who made the mask.
    """
    raw = f"bids:raw:{source}"
    facts = {"Type": "Brain", "Description": f"Brain mask: {by}", "Sources": [raw], "SpatialReference": raw,
             "Manual": by == "by hand"}  # fmt: skip
    write_text_whole(path, json.dumps(facts, indent=1) + "\n")


def write_lookup(table: LabelTable, path: Path) -> None:
    """Write the ``dseg.tsv`` of a label map: index, name, abbreviation, mapping, color.

    The colour comes last: readers of tables that take ``#`` for a comment lose nothing before it.
    """
    lines = ["index\tname\tabbreviation\tmapping\tcolor"]
    for label in table:
        mapping, abbreviation = _STANDARD.get(label.name.lower(), ("n/a", f"L{label.number}"))
        name = " ".join(label.name.split())
        lines.append(f"{label.number}\t{name}\t{abbreviation}\t{mapping}\t{_hex(label)}")
    write_text_whole(path, "\n".join(lines) + "\n")


def write_sidecar(sources: Sequence[str], path: Path, *, model: str) -> None:
    """Write the ``dseg.json`` of a label map.

    Args:
        sources: path of the scan relative to its dataset, and of its further channels.
        model: fingerprint of the model.
    """
    facts = {
        "Description": "Labels found by clustering without examples; their names are those of the lookup table",
        "Sources": [f"bids:raw:{source}" for source in sources],
        "SpatialReference": f"bids:raw:{sources[0]}",
        "Manual": False,
        "ModelFingerprint": model,
    }
    write_text_whole(path, json.dumps(facts, indent=1) + "\n")


def write_dataset(out: Path, source: Path, *, version: str) -> None:
    """Write what a derivative needs at its top: description, README, and which files are beyond the standard.

    Args:
        source: the raw dataset, referred to by its DOI where it has one and by a relative path where `out` lies in it.
        version: of medseg.
    """
    raw = _read(source / DESCRIPTION)
    doi = raw.get("DatasetDOI")
    inside = out.resolve().is_relative_to(source.resolve())
    link = os.path.relpath(source.resolve(), out.resolve()).replace(os.sep, "/") if inside else doi or "raw"
    description: dict[str, Any] = {
        "Name": f"medseg segmentation of {raw.get('Name') or 'a dataset'}",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medseg", "Version": version, "Description": "Label-free segmentation"}],
        **({"SourceDatasets": [{"DOI": doi}]} if isinstance(doi, str) else {}),  # a path is no URL
        "DatasetLinks": {"raw": link},
    }
    if isinstance(raw.get("License"), str):
        description["License"] = raw["License"]
    write_text_whole(out / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    write_text_whole(out / ".bidsignore", "\n".join(_IGNORED) + "\n")
    write_text_whole(out / "README.md", _README)


def structural_scans(scans: Sequence[Scan]) -> list[Scan]:
    """The structural images of a dataset with subject and session; all else (other data types, masks) is left out."""
    return [_with_entities(scan) for scan in scans if is_structural(scan)]


def _with_entities(scan: Scan) -> Scan:
    found = _SCAN.fullmatch(scan.id)
    return replace(scan, subject=found[1], session=(found[2] or "").removeprefix("/")) if found else scan


def _hex(label: Label) -> str:
    return "#{:02x}{:02x}{:02x}".format(*label.color)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
