"""`medseg pacs` against a real Orthanc, and against servers that refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import cast

import pydicom
import pytest
import torch

from medseg.batch.outputs import Job
from medseg.cli import pacs
from medseg.cli.main import main
from medseg.config import Config
from medseg.io.dicom_seg.writer import LABELMAP_CLASS, seg_series_uid
from medseg.io.pacs.base import Credentials, Query
from medseg.labels.table import LabelTable
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import read_records
from medseg.model.segmentation import Segmentation
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom
from tests.support.cohorts import thick_series
from tests.support.fake_pacs import FakePacs
from tests.support.paths import ROOT, SHARED, SUPPORT

ORTHANC = SHARED / "tools" / "orthanc.sh"
SECRET = "s3cret-token"


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return thick_series(tmp_path_factory.mktemp("series"))


def test_orthanc_round_trip(series, model_folder, tmp_path):
    """Push, find, segment, store, over DICOMweb and over DIMSE: what the PACS then holds is the NIfTI."""
    pytest.importorskip("pynetdicom")
    pytest.importorskip("dicomweb_client")
    if not ORTHANC.exists() or not shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    if os.getuid() != 0:
        pytest.skip("Orthanc is kept in a network namespace of its own, which only root can make")
    command = ["bash", str(ORTHANC), "timeout", "300", sys.executable, str(SUPPORT / "orthanc_round_trip.py")]
    done = subprocess.run(
        [*command, str(series), str(model_folder), str(tmp_path)], capture_output=True, text=True, check=False,
        timeout=360, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for route, seen in json.loads(done.stdout.splitlines()[-1]).items():
        expected = {"codes": [0, 0], "equal": True, "class": LABELMAP_CLASS, "name": "Phantom^Demo",
                    "segmentations": 1, "left": [], "nobody": 0}  # fmt: skip
        assert seen == expected, route
    assert "PHANTOM" not in done.stderr
    for file in (p for route in ("dicomweb", "dimse") for p in (tmp_path / route).rglob("*") if p.is_file()):
        assert b"PHANTOM" not in file.read_bytes(), file


class FakeModel:
    """Stands for a model that segments at once; `fingerprint` and `table` are all that else is asked of it."""

    fingerprint = "0123456789abcdef"
    table = LabelTable.default(3)
    config = Config()
    device = torch.device("cpu")

    def segment(self, image, mask=None, **_):
        geometry = Geometry.of(image)
        return Segmentation(phantom(geometry)[1], geometry, self.table)


def fake_model() -> Model:
    return cast(Model, FakeModel())


@pytest.mark.parametrize(
    ("refuses", "kinds"), [((), ["LABELMAP"]), (("LABELMAP",), ["BINARY"]), (("LABELMAP", "BINARY"), [])]
)
def test_a_server_that_takes_no_label_map_gets_binary(series, tmp_path, refuses, kinds):
    uid = pydicom.dcmread(next(series.glob("*.dcm"))).SeriesInstanceUID
    server = FakePacs(series, refuses=refuses, series_uid=uid)
    job = Job(tmp_path / "out", frozenset({Output.NIFTI}))
    outcome = pacs.segment_pacs(server, Query(modality="MR"), fake_model(), job)
    assert [str(found.SegmentationType) for found in server.stored] == kinds
    assert [r.status for r in outcome.records] == ["done" if kinds else "failed"]
    assert not server.fetched.exists()
    if kinds:
        assert server.stored[0].SeriesInstanceUID == seg_series_uid(uid, FakeModel.fingerprint) == server.seen[0]
        again = pacs.segment_pacs(server, Query(modality="MR"), fake_model(), job)
        assert (again.records, again.n_known, len(server.stored)) == ([], 1, 1)
    else:
        assert outcome.records[0].why == "pacs: PACS takes no such objects"
        assert read_records(tmp_path / "out")[0].status == "failed"


def test_failures_cost_their_series(series, tmp_path):
    outcome = pacs.segment_pacs(FakePacs(series, breaks="fetch"), Query(modality="MR"), fake_model(), Job(tmp_path))
    (record,) = outcome.records
    assert (record.status, record.scan[:4]) == ("failed", "mr4-")
    (tmp_path / "nothing").mkdir()
    outcome = pacs.segment_pacs(FakePacs(tmp_path / "nothing"), Query(modality="MR"), fake_model(), Job(tmp_path))
    assert outcome.records[0].why.startswith("not_a_volume: found no image")


def test_a_kill_leaves_no_patient_file(series, tmp_path):
    server = FakePacs(series, breaks="kill")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        pacs.segment_pacs(server, Query(modality="MR"), fake_model(), Job(tmp_path))
    assert not server.fetched.exists()
    assert signal.getsignal(signal.SIGTERM) == before
    left = tmp_path / ".medseg" / "pacs-old"
    left.mkdir()
    os.utime(left, (1, 1))
    with pacs.downloads(tmp_path) as folder:
        assert folder.stat().st_mode & 0o077 == 0
    assert not left.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dicomweb", "https://p"], "name at least one of --patient"),
        (["--dicomweb", "https://p", "--patient", "A*"], "--patient: found a wildcard"),
        (["--dicomweb", "https://p", "--date", "1.1.2026"], "expected YYYYMMDD"),
        (["--dicomweb", "pacs", "--modality", "mr"], "expected https://HOST/dicom-web"),
        (["--dicomweb", "https://me:pw@p", "--modality", "mr"], "found a user in the address"),
        (["--dicomweb", "http://p", "--modality", "mr"], "credentials would travel unencrypted"),
        (["--dimse", "P@p:104", "--modality", "mr"], "credentials would travel unencrypted; add --tls"),
        (["--dimse", "p:104", "--modality", "mr"], "expected TITLE@HOST:PORT"),
        (["--dimse", "P@p:104", "--aet", "x" * 17, "--modality", "mr"], "expected a title of 1 to 16"),
        (["--dimse", "P@p:104", "--ca", "missing.pem", "--modality", "mr"], "--ca missing.pem: found no file"),
        (["--dimse", "P@p:104", "--ca", __file__, "--modality", "mr"], "--ca or --cert cannot be used"),
        (["--dicomweb", "https://p", "--credentials", "missing", "--modality", "mr"], "--credentials missing: cannot"),
        (["--dicomweb", "https://p", "--credentials", __file__, "--modality", "mr"], "expected lines token=..."),
    ],
)
def test_wrong_usage(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDSEG_PACS_TOKEN", SECRET)
    assert main(["pacs", *words, "--model", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert SECRET not in error
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pacs, "find_spec", lambda name: None)
    words = ["pacs", "--dicomweb", "https://p", "--modality", "mr", "--model", "m", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "pip install 'medseg[pacs]'" in capsys.readouterr().err


def test_credentials(tmp_path, monkeypatch):
    file = tmp_path / "credentials"
    file.write_text("# mine\nuser = me\npassword=a=b\n")
    assert pacs.read_credentials(file) == Credentials(user="me", password="a=b")
    monkeypatch.setenv("MEDSEG_PACS_USER", "you")
    found = pacs.read_credentials(None)
    assert found == Credentials(user="you")
    assert "you" not in repr(found)
    assert not Credentials()
