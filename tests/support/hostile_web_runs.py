"""What a run says and keeps of a DICOMweb server that lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medseg.batch.outputs import Job
from medseg.batch.segment_pacs import Outcome
from medseg.io.pacs.base import Bounds, Credentials, Query, Tls
from medseg.io.pacs.dicomweb import WebPacs
from tests.support.fake_pacs import segment_with_fake_model

SECRET = "Zerbrowski^Quentin"
TOKEN = "s3cret-token"
BOUNDS = Bounds(seconds=20, answer_bytes=200_000, instance_bytes=100_000, series_bytes=200_000, n_found=1_000)


def pacs(url: str, **credentials: str) -> WebPacs:
    """A client of the server, with small bounds."""
    pytest.importorskip("requests")
    return WebPacs(url, Credentials(**credentials), Tls(), BOUNDS)


def run(url: str, out: Path) -> Outcome:
    """Segment all that the server has of one patient."""
    return segment_with_fake_model(pacs(url, token=TOKEN), Query(patient="PHANTOM"), Job(out))


def check_silence(out: Path, captured: Any, logged: str = "") -> None:
    """Nothing that was planted is said or kept."""
    kept = "".join(path.read_text() for path in out.rglob("*.json"))
    for word in (SECRET, "Zerbrowski", TOKEN, "PHANTOM", "1.2.826"):
        assert word not in captured.out + captured.err + logged + kept
    assert [path for path in out.rglob("*") if path.suffix == ".dcm"] == []
