"""DICOMweb and DIMSE servers that refuse, answer nonsense or repeat themselves."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg import ConfigError, find_scans
from medseg.io.dicom_seg.writer import LABELMAP_CLASS, Kind, write_dicom_seg
from medseg.io.pacs.base import Credentials, Found, PacsError, Query, Series, StorageRefusedError, Tls
from medseg.io.pacs.connect import Address, connect
from medseg.io.pacs.dicomweb import WebPacs
from medseg.labels.table import LabelTable
from sample_data.phantom import phantom
from tests.support.cohorts import thick_series
from tests.support.hostile_web import failed, web_server, with_body
from tests.support.scans import grid_of

SECRET = "s3cret-token"


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    """Files of a DICOM segmentation, by kind."""
    (scan,) = find_scans(thick_series(tmp_path_factory.mktemp("series")))
    folder = tmp_path_factory.mktemp("seg")
    labels = phantom(grid_of(scan))[1]
    kinds: tuple[Kind, ...] = ("labelmap", "binary")
    for kind in kinds:
        write_dicom_seg(labels, grid_of(scan), LabelTable.default(3), folder / f"{kind}.dcm", sources=scan.paths,
                        kind=kind)  # fmt: skip
    return {kind: folder / f"{kind}.dcm" for kind in kinds}


def web(url, **credentials):
    pytest.importorskip("requests")
    return WebPacs(url, Credentials(**credentials), Tls())


def test_dicomweb_answers(segmentation, tmp_path, caplog):
    for status, body, error in [
        (409, failed(0x0122), StorageRefusedError),
        (415, b"", StorageRefusedError),
        (202, failed(0xC000), StorageRefusedError),
        (401, b"", PacsError),
        (500, b"", PacsError),
        (200, b"<html>please log in</html>", PacsError),
        (200, b"{}", PacsError),
        (200, b"[]", PacsError),
    ]:
        with web_server(tmp_path, with_body("store", body, status=status)) as (url, server):
            with pytest.raises(error) as caught:
                web(url, token=SECRET).store(segmentation["binary"])
            assert (type(caught.value) is StorageRefusedError) == (error is StorageRefusedError)
            assert server.asked[0][2]["Authorization"] == f"Bearer {SECRET}"
            assert SECRET not in str(caught.value) + caplog.text
    with web_server(tmp_path, with_body("store", b"")) as (url, server):
        web(url, user="me", password="pw").store(segmentation["labelmap"])
        assert server.asked[0][2]["Authorization"].startswith("Basic ")
        assert server.stored[0] == pydicom.dcmread(segmentation["labelmap"])
        assert list(segmentation["labelmap"].parent.glob("*.body")) == []
    page = web_server(tmp_path, with_body("studies", b"<html>", kind="text/html"))
    with page as (url, _), pytest.raises(PacsError, match="no DICOMweb answer"):
        web(url).find(Query(patient="PHANTOM"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(PacsError, match=r"does not answer \(ConnectionError\)"):
            web(f"http://127.0.0.1:{closed.getsockname()[1]}").has("1.2", "1.2.3")


def test_credentials_of_the_home_folder_are_not_taken(tmp_path, monkeypatch):
    """A ~/.netrc would replace the token that was given, and be sent where none was."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with web_server(tmp_path, with_body("studies", b"[]")) as (url, server):
        web(url).find(Query(patient="P"))
        web(url, token=SECRET).find(Query(patient="P"))
    assert [headers.get("Authorization") for _, _, headers in server.asked] == [None, f"Bearer {SECRET}"]


def test_a_server_that_repeats_its_first_page_is_not_asked_for_ever(tmp_path):
    study = [{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
              "00080060": {"vr": "CS", "Value": ["MR"]}}]  # fmt: skip
    answer = json.dumps(study).encode()
    with web_server(tmp_path, lambda route, reply: replace(reply, body=answer)) as (url, server):
        assert web(url).find(Query(patient="P")) == Found((Series("1.2", "1.2.3", "MR", patient="P"),))
        assert web(url).find(Query(modality="CT")) == Found(())
        assert len(server.asked) == 8


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
    from medseg.io.pacs.dimse import DimsePacs

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
        with pytest.raises(PacsError, match="takes no C-FIND"):
            dimse(peer).fetch(Series("1.2", "1.2.3", "MR"), Path())
        with pytest.raises(PacsError, match="takes no C-GET"):
            dimse(peer).fetch(Series("1.2", "1.2.3", "MR", n_instances=4), Path())
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
    with pytest.raises(PacsError, match="does not answer"):
        connect(Address(dimse="P@127.0.0.1:1", is_encrypted=True)).has("1.2", "1.2.3")
    with pytest.raises(ConfigError):
        connect(Address(dimse="x"))
