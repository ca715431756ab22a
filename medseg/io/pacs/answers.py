"""Answers of a DICOMweb server in the DICOM JSON model (PS3.18 F): only the few elements that are asked for are read.

Nothing else of an answer is looked at, and no value of it is ever part of a message.
"""

from __future__ import annotations

import json
from typing import Any

from medseg.io.pacs.base import Values

TAGS = {
    "StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E", "SOPInstanceUID": "00080018",
    "PatientID": "00100020", "StudyDate": "00080020", "Modality": "00080060", "SeriesNumber": "00200011",
    "NumberOfSeriesRelatedInstances": "00201209",
}  # fmt: skip
FAILED, REFERENCED, REASON = "00081198", "00081199", "00081197"
"""FailedSOPSequence, ReferencedSOPSequence and FailureReason in the answer to a store."""
MOST_PARTS = 2_000_000
"""Objects and lists of one answer: each takes a hundred times the memory of its two bytes."""


def read_json(body: bytes) -> Any:
    """What a body holds; None when it is empty.

    Raises:
        ValueError: no JSON, too deep, or of too many parts.
    """
    if not body.strip():
        return None
    if body.count(b"{") + body.count(b"[") > MOST_PARTS or body.count(b",") > 2 * MOST_PARTS:
        raise ValueError("too many parts")
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("too deep") from None


def search_answers(body: bytes) -> list[Values]:
    """The elements of `TAGS` of every match.

    Raises:
        ValueError: anything but a list of objects; some servers send one match without its list.
    """
    found = read_json(body)
    matches = [] if found is None else [found] if isinstance(found, dict) else found
    if not isinstance(matches, list) or not all(isinstance(match, dict) for match in matches):
        raise ValueError("no list of objects")
    return [{keyword: text for keyword, tag in TAGS.items() if (text := _text(match.get(tag)))} for match in matches]


def failure_reason(body: bytes) -> int | None:
    """FailureReason (PS3.4 CC.2.3) of the object that was to be stored, 0 when none is given; None when it was stored.

    Raises:
        ValueError: the answer does not say that anything was stored.
    """
    found = read_json(body)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ValueError("no object")
    failed = _items(found.get(FAILED))
    if failed:
        reason = _text(failed[0].get(REASON)) if isinstance(failed[0], dict) else ""
        return int(reason) if reason.isascii() and reason.isdigit() else 0
    if not _items(found.get(REFERENCED)):
        raise ValueError("nothing was stored")
    return None


def _items(element: Any) -> list[Any]:
    value = element.get("Value") if isinstance(element, dict) else None
    return value if isinstance(value, list) else []


def _text(element: Any) -> str:
    """The first value of an element as text; empty when there is none or it is neither text nor a whole number."""
    first = (_items(element) or [None])[0]
    if isinstance(first, bool) or not isinstance(first, (str, int)):
        return ""
    return str(first).strip(" \0") if isinstance(first, str) or abs(first) < 10**12 else ""
