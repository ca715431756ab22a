"""`medseg pacs` against a real Orthanc, and against servers that refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage

from medseg.batch.outputs import Job
from medseg.batch.segment_pacs import downloads
from medseg.cli import pacs
from medseg.cli.main import main
from medseg.io.dicom_seg.writer import LABELMAP_CLASS, seg_series_uid
from medseg.io.pacs.base import Credentials, Query
from medseg.model.outputs import Output
from medseg.model.record import read_records
from tests.support.cohorts import thick_series
from tests.support.dicom_files import edit, remove, write_axial
from tests.support.fake_pacs import FakeModel, FakePacs, segment_with_fake_model
from tests.support.paths import ROOT, SHARED, SUPPORT

ORTHANC = SHARED / "tools" / "orthanc.sh"
SECRET = "s3cret-token"


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return thick_series(tmp_path_factory.mktemp("series"))


def skip_without_orthanc() -> None:
    pytest.importorskip("pynetdicom")
    pytest.importorskip("requests")
    if not shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    if os.getuid() != 0:
        pytest.skip("Orthanc is kept in a network namespace of its own, which only root can make")


def in_orthanc(command, *paths):
    """The last line of what a program says that runs beside a real Orthanc, and all that it says otherwise."""
    done = subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, check=False, timeout=560,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_orthanc_round_trip(series, model_folder, tmp_path):
    """Push, find, segment, store, over DICOMweb and over DIMSE: what the PACS then holds is the NIfTI."""
    skip_without_orthanc()
    if not ORTHANC.exists():
        pytest.skip(f"the script that starts Orthanc is not at {ORTHANC}")
    command = ["bash", str(ORTHANC), "timeout", "500", sys.executable, str(SUPPORT / "orthanc_round_trip.py")]
    found, said = in_orthanc(command, series, model_folder, tmp_path)
    for route, seen in found.items():
        expected = {"codes": [0, 0], "equal": True, "class": LABELMAP_CLASS, "name": "Phantom^Demo",
                    "segmentations": 1, "left": [], "nobody": 0}  # fmt: skip
        assert seen == expected, route
    assert "PHANTOM" not in said
    for file in (p for route in ("dicomweb", "dimse") for p in (tmp_path / route).rglob("*") if p.is_file()):
        assert b"PHANTOM" not in file.read_bytes(), file


@pytest.mark.slow
def test_orthanc_with_certificates_and_without_c_move(series, quick_model, tmp_path):
    """A private authority and a client certificate, over both protocols; each certificate that is wrong is refused."""
    skip_without_orthanc()
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificates, is not installed")
    command = ["unshare", "-n", sys.executable, str(SUPPORT / "orthanc_tls.py")]
    found, said = in_orthanc(command, series, quick_model, tmp_path)
    for route in ("dicomweb", "dimse"):
        assert set(found[route].pop("wrong").values()) == {2}, route
        assert found[route] == {"n_before": 0, "right": 0, "stored": 1}, route
    assert said.count("check address and certificates") == 3
    assert said.count("check address, titles and TLS") == 3
    assert "PHANTOM" not in said


@pytest.mark.parametrize(
    ("refuses", "kinds"), [((), ["LABELMAP"]), (("LABELMAP",), ["BINARY"]), (("LABELMAP", "BINARY"), [])]
)
def test_a_server_that_takes_no_label_map_gets_binary(series, tmp_path, refuses, kinds):
    uid = pydicom.dcmread(next(series.glob("*.dcm"))).SeriesInstanceUID
    server = FakePacs(series, refuses=refuses)
    job = Job(tmp_path / "out", frozenset({Output.NIFTI}))
    outcome = segment_with_fake_model(server, Query(modality="MR"), job)
    assert [str(found.SegmentationType) for found in server.stored] == kinds
    assert [r.status for r in outcome.records] == ["done" if kinds else "failed"]
    assert [x.label for r in outcome.records for x in r.statistics if x.n_voxels] == ([1, 2, 3] if kinds else [])
    assert not server.fetched.exists()
    if kinds:
        assert server.stored[0].SeriesInstanceUID == seg_series_uid(uid, FakeModel.fingerprint) == server.seen[0]
        again = segment_with_fake_model(server, Query(modality="MR"), job)
        assert (again.records, again.n_known, len(server.stored)) == ([], 1, 1)
    else:
        assert outcome.records[0].why == "pacs: PACS takes no such objects"
        assert read_records(tmp_path / "out")[0].status == "failed"


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        ("fetch", "pacs: PACS sent 0 images and ended with no answer; try again"),
        ("store", "pacs: PACS ended the connection while storing; try again"),
        ("disk", "machine: No space left on device; free space or memory and run again"),
    ],
)
def test_failures_cost_their_series(series, tmp_path, breaks, reason):
    outcome = segment_with_fake_model(FakePacs(series, breaks=breaks), Query(modality="MR"), Job(tmp_path))
    (record,) = outcome.records
    assert (record.status, record.scan[:4], record.why) == ("failed", "mr4-", reason)
    assert segment_with_fake_model(FakePacs(series), Query(modality="MR"), Job(tmp_path)).records[0].is_done
    assert [record.status for record in read_records(tmp_path)] == ["done"], "the failure has another name"


def test_a_series_without_an_image_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    path, *others = write_axial(tmp_path / "in")
    remove(*others)
    edit(path, SOPClassUID=BasicTextSRStorage, Modality="SR", PixelData=None, Rows=None, Columns=None)
    outcome = segment_with_fake_model(FakePacs(tmp_path / "in"), Query(modality="MR"), Job(tmp_path / "out"))
    assert outcome.records[0].why.startswith("not_a_volume: found no image")


def test_a_kill_leaves_no_patient_file(series, tmp_path):
    server = FakePacs(series, breaks="kill")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        segment_with_fake_model(server, Query(modality="MR"), Job(tmp_path))
    assert not server.fetched.exists()
    assert signal.getsignal(signal.SIGTERM) == before
    with downloads(tmp_path) as folder:
        assert folder.stat().st_mode & 0o077 == 0
        left = folder.with_name(folder.name.replace(f".{os.getpid()}.", f".{2**22 + 1}."))
        left.mkdir()
    segment_with_fake_model(FakePacs(series), Query(modality="MR"), Job(tmp_path))
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
