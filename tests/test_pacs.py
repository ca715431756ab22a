"""`medseg pacs` against a real Orthanc, and against servers that refuse."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import GRIDS
from medseg.pipelines import pacs
from medseg.pipelines.__main__ import main
from medseg.pipelines.manifest import read_records
from medseg.pipelines.outputs import Job

from medseg import ConfigError, find_scans
from medseg.geometry import Geometry
from medseg.io.dicom_seg import LABELMAP_CLASS, seg_series_uid, write_dicom_seg
from medseg.io.pacs import Credentials, PacsError, Query, Series, StorageRefusedError, Tls
from medseg.label_table import LabelTable
from medseg.model import Segmentation
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom

ORTHANC = Path(__file__).parents[2] / "shared" / "tools" / "orthanc.sh"
SECRET = "s3cret-token"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A series of thick slices of the phantom."""
    geometry = Geometry((70, 78, 22), GRIDS["RAS"].affine @ np.diag([2, 2, 6, 1.0]))
    folder = tmp_path_factory.mktemp("series")
    write_dicom_series(phantom(geometry, noise=8.0)[0], folder, modality="MR", series_number=4)
    return folder


@pytest.fixture(scope="module")
def segmentation(series, tmp_path_factory):
    """Files of a DICOM segmentation of the series, by kind."""
    (scan,) = find_scans(series)
    folder = tmp_path_factory.mktemp("seg")
    labels = phantom(scan.geometry)[1]
    for kind in ("labelmap", "binary"):
        write_dicom_seg(labels, scan.geometry, LabelTable.default(3), folder / f"{kind}.dcm", sources=scan.paths,
                        kind=kind)  # fmt: skip
    return {kind: folder / f"{kind}.dcm" for kind in ("labelmap", "binary")}


def test_orthanc_round_trip(series, model_folder, tmp_path):
    """Push, find, segment, store, over DICOMweb and over DIMSE: what the PACS then holds is the NIfTI."""
    pytest.importorskip("pynetdicom")
    pytest.importorskip("dicomweb_client")
    if not ORTHANC.exists() or not shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    if os.getuid() != 0:
        pytest.skip("Orthanc is kept in a network namespace of its own, which only root can make")
    command = ["bash", str(ORTHANC), "timeout", "300", sys.executable, str(HERE / "orthanc_round_trip.py")]
    done = subprocess.run(
        [*command, str(series), str(model_folder), str(tmp_path)], capture_output=True, text=True, check=False,
        timeout=360, env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for route, seen in json.loads(done.stdout.splitlines()[-1]).items():
        expected = {"codes": [0, 0], "equal": True, "class": LABELMAP_CLASS, "name": "Phantom^Demo",
                    "segmentations": 1, "left": [], "nobody": 0}  # fmt: skip
        assert seen == expected, route
    assert "PHANTOM" not in done.stderr
    for file in (p for route in ("dicomweb", "dimse") for p in (tmp_path / route).rglob("*") if p.is_file()):
        assert b"PHANTOM" not in file.read_bytes(), file


class FakePacs:
    """A PACS in memory with one series, which may refuse."""

    def __init__(self, folder, *, refuses=(), breaks="", series_uid="1.2.3"):
        self.folder, self.refuses, self.breaks = folder, refuses, breaks
        self.stored, self.seen = [], []
        self.series = Series("1.2", series_uid, "MR", "4")

    def find(self, query):
        return [self.series]

    def has(self, study_uid, series_uid):
        self.seen.append(series_uid)
        return any(found.SeriesInstanceUID == series_uid for found in self.stored)

    def fetch(self, series, folder):
        self.fetched = folder
        if self.breaks == "fetch":
            raise PacsError("PACS sent 0 images and ended with no answer; try again")
        if self.breaks == "kill":
            (folder / "half.dcm").write_bytes(b"x")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        for file in self.folder.glob("*.dcm"):
            shutil.copy(file, folder)

    def store(self, path):
        found = pydicom.dcmread(path)
        if found.SegmentationType in self.refuses:
            raise StorageRefusedError("PACS takes no such objects")
        self.stored.append(found)


class FakeModel:
    """Stands for a model that segments at once; `fingerprint` and `table` are all that else is asked of it."""

    fingerprint = "0123456789abcdef"
    table = LabelTable.default(3)

    def segment(self, image, mask=None, **_):
        geometry = Geometry.of(image)
        return Segmentation(phantom(geometry)[1], geometry, self.table)


@pytest.mark.parametrize(
    ("refuses", "kinds"), [((), ["LABELMAP"]), (("LABELMAP",), ["BINARY"]), (("LABELMAP", "BINARY"), [])]
)
def test_a_server_that_takes_no_label_map_gets_binary(series, tmp_path, refuses, kinds):
    uid = pydicom.dcmread(next(series.glob("*.dcm"))).SeriesInstanceUID
    server = FakePacs(series, refuses=refuses, series_uid=uid)
    job = Job(tmp_path / "out", ("nifti",))
    outcome = pacs.segment_pacs(server, Query(modality="MR"), FakeModel(), job)
    assert [str(found.SegmentationType) for found in server.stored] == kinds
    assert [r.status for r in outcome.records] == ["done" if kinds else "failed"]
    assert not server.fetched.exists()
    if kinds:
        assert server.stored[0].SeriesInstanceUID == seg_series_uid(uid, FakeModel.fingerprint) == server.seen[0]
        again = pacs.segment_pacs(server, Query(modality="MR"), FakeModel(), job)
        assert (again.records, again.n_known, len(server.stored)) == ([], 1, 1)
    else:
        assert outcome.records[0].reason == "pacs: PACS takes no such objects"
        assert read_records(tmp_path / "out")[0].status == "failed"


def test_failures_cost_their_series(series, tmp_path):
    outcome = pacs.segment_pacs(FakePacs(series, breaks="fetch"), Query(modality="MR"), FakeModel(), Job(tmp_path))
    (record,) = outcome.records
    assert (record.status, record.scan[:4]) == ("failed", "mr4-")
    (tmp_path / "nothing").mkdir()
    outcome = pacs.segment_pacs(FakePacs(tmp_path / "nothing"), Query(modality="MR"), FakeModel(), Job(tmp_path))
    assert outcome.records[0].reason.startswith("not_a_volume: found no image")


def test_a_kill_leaves_no_patient_file(series, tmp_path):
    server = FakePacs(series, breaks="kill")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        pacs.segment_pacs(server, Query(modality="MR"), FakeModel(), Job(tmp_path))
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


@contextmanager
def web_server(status, body=b"", kind="application/dicom+json"):
    """A DICOMweb server that gives one answer to everything; yields its address and the headers it saw."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            seen.append((self.path, dict(self.headers)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def failed(reason):
    return json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}).encode()


def web(url, **credentials):
    web_pacs = pytest.importorskip("medseg.io.pacs_web", exc_type=ImportError)
    pytest.importorskip("dicomweb_client")
    return web_pacs.WebPacs(url, Credentials(**credentials), Tls())


def test_dicomweb_answers(segmentation, caplog):
    for status, body, error in [
        (409, failed(0x0122), StorageRefusedError),
        (415, b"", StorageRefusedError),
        (202, failed(0xC000), StorageRefusedError),
        (401, b"", PacsError),
        (500, b"", PacsError),
    ]:
        with web_server(status, body) as (url, seen):
            with pytest.raises(error) as caught:
                web(url, token=SECRET).store(segmentation["binary"])
            assert (type(caught.value) is StorageRefusedError) == (error is StorageRefusedError)
            assert seen[0][1]["Authorization"] == f"Bearer {SECRET}"
            assert SECRET not in str(caught.value) + caplog.text
    with web_server(200, b"") as (url, seen):
        web(url, user="me", password="pw").store(segmentation["labelmap"])
        assert seen[0][1]["Authorization"].startswith("Basic ")
    with web_server(200, b"<html>", "text/html") as (url, _), pytest.raises(PacsError, match="no DICOMweb answer"):
        web(url).find(Query(patient="PHANTOM"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(PacsError, match=r"does not answer \(ConnectionError\)"):
            web(f"http://127.0.0.1:{closed.getsockname()[1]}").has("1.2", "1.2.3")


def test_a_server_that_repeats_its_first_page_is_not_asked_for_ever():
    study = [{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
              "00080060": {"vr": "CS", "Value": ["MR"]}}]  # fmt: skip
    with web_server(200, json.dumps(study).encode()) as (url, seen):
        assert web(url).find(Query(patient="P")) == [Series("1.2", "1.2.3", "MR")]
        assert web(url).find(Query(modality="CT")) == []
        assert len(seen) == 8


@contextmanager
def dimse_server(kinds, status=0x0000, syntaxes=None):
    """A storage provider that takes objects of some kinds."""
    pynetdicom = pytest.importorskip("pynetdicom")
    entity = pynetdicom.AE(ae_title="PACS")
    for kind in kinds:
        entity.add_supported_context(kind, syntaxes or ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"])
    received = []

    def keep(event):
        received.append(event.dataset)
        received[-1].file_meta = event.file_meta
        return status

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, keep)])
    try:
        yield f"PACS@127.0.0.1:{server.socket.getsockname()[1]}", received
    finally:
        server.shutdown()


def dimse(peer, **credentials):
    from medseg.io.pacs_dimse import DimsePacs

    return DimsePacs(peer, "MEDSEG", Credentials(**credentials), None)


def test_dimse_answers(segmentation):
    binary = pydicom.uid.SegmentationStorage
    with dimse_server([binary]) as (peer, received):
        with pytest.raises(StorageRefusedError, match="takes no objects of the kind"):
            dimse(peer).store(segmentation["labelmap"])
        dimse(peer, user="me", password="pw").store(segmentation["binary"])
        assert received[0].SOPClassUID == binary
        with pytest.raises(PacsError, match="takes no C-FIND from MEDSEG"):
            dimse(peer).find(Query(patient="P"))
        with pytest.raises(PacsError, match="takes no C-GET"):
            dimse(peer).fetch(Series("1.2", "1.2.3", "MR"), Path())
    for status, error in ((0x0122, StorageRefusedError), (0xC001, StorageRefusedError), (0xA700, PacsError)):
        with dimse_server([binary], status) as (peer, _), pytest.raises(error):
            dimse(peer).store(segmentation["binary"])
    with dimse_server([LABELMAP_CLASS], syntaxes=["1.2.840.10008.1.2"]) as (peer, received):
        dimse(peer, token=SECRET).store(segmentation["labelmap"])
    sent = pydicom.dcmread(segmentation["labelmap"])
    assert received[0].SOPInstanceUID == sent.SOPInstanceUID
    assert np.array_equal(received[0].pixel_array, sent.pixel_array)
    with pytest.raises(PacsError, match="does not answer"):
        dimse(peer).has("1.2", "1.2.3")


def test_tls_needs_a_trusted_certificate():
    arguments = argparse.Namespace(
        credentials=None, ca=None, cert=None, dicomweb="", dimse="P@127.0.0.1:1", aet="MEDSEG", tls=True
    )
    with pytest.raises(PacsError, match="does not answer"):
        pacs.connect(arguments).has("1.2", "1.2.3")
    with pytest.raises(ConfigError):
        pacs.connect(argparse.Namespace(**{**vars(arguments), "dimse": "x"}))
