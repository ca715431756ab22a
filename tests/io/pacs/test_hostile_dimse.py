"""DICOM peers that lie, never answer, or send more than agreed."""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from medseg.batch.outputs import Job
from medseg.io.pacs.base import Bounds, Credentials, PacsError, Query
from medseg.io.pacs.dimse import DimsePacs
from medseg.io.pacs.dimse_data import values_of
from medseg.io.pacs.dimse_line import Line
from tests.support.dicom_files import write_axial
from tests.support.fake_pacs import segment_with_fake_model
from tests.support.hostile_dimse import Peer, dimse_peer, raw_peer

SECRET = "Zerbrowski^Quentin"
BOUNDS = Bounds(seconds=20, answer_bytes=200_000, instance_bytes=100_000, series_bytes=200_000, n_found=1_000)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_axial(folder)
    return folder


def run(address, out, bounds=BOUNDS, patient="PHANTOM"):
    pytest.importorskip("pynetdicom")
    pacs = DimsePacs(address, "MEDSEG", Credentials(), None, bounds)
    return segment_with_fake_model(pacs, Query(patient=patient), Job(out))


def changed(files, **elements):
    found = deepcopy(files)
    for dataset in found:
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
    return found


FETCHES = {
    "another patient": (lambda files: changed(files, PatientID=SECRET), "images of another patient"),
    "another study": (lambda files: changed(files, StudyInstanceUID="1.2.3"), "images of another study"),
    "another series": (lambda files: changed(files, SeriesInstanceUID="1.2.3"), "images of another series"),
    "5 of 8": (lambda files: files[:5], "sent 5 of 8 images and ended with status 0x0000"),
    "5 of 8, three twice": (lambda files: [*files[:5], *files[:3]], "5 different images of 8"),
    "8 and one more": (lambda files: [*files, files[0]], "more than the 8 files"),
    "a file larger than allowed": (lambda files: changed(files, PixelData=bytes(150_000)), "larger than agreed"),
    "a series larger than allowed": (lambda files: changed(files, PixelData=bytes(60_000)), "sent more than 200000"),
}


def test_an_honest_peer_gets_a_segmentation(series, tmp_path):
    peer = Peer(series)
    with dimse_peer(peer) as address:
        assert run(address, tmp_path).records[0].status == "done"
        assert [found.PatientID for found in peer.stored] == ["PHANTOM"]


@pytest.mark.parametrize("attack", FETCHES)
def test_what_is_not_the_series_is_not_stored(series, tmp_path, monkeypatch, capfd, caplog, attack):
    lie, reason = FETCHES[attack]
    peer = Peer(series)
    monkeypatch.setattr(peer, "sent", lambda: lie(peer.files))
    with dimse_peer(peer) as address:
        (record,) = run(address, tmp_path).records
    assert (record.status, record.code) == ("failed", "pacs")
    assert reason in record.reason
    assert peer.stored == []
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err + caplog.text + record.reason


def test_a_peer_that_counts_no_instances_is_asked_for_each(series, tmp_path, monkeypatch):
    peer = Peer(series)
    finding = peer.find
    asked = []

    def uncounted(event):
        asked.append(str(event.identifier.QueryRetrieveLevel))
        for status, answer in finding(event):
            assert answer is not None
            answer.NumberOfSeriesRelatedInstances = None
            yield status, answer

    monkeypatch.setattr(peer, "find", uncounted)
    with dimse_peer(peer) as address:
        assert run(address, tmp_path).records[0].status == "done"
        assert asked == ["STUDY", "SERIES", "SERIES", "IMAGE"]
        monkeypatch.setattr(peer, "matches", lambda level: [] if level == "IMAGE" else peer.files[:1])
        monkeypatch.setattr(peer, "stored", [])
        assert "does not say how many files" in run(address, tmp_path / "again").records[0].reason


def test_a_search_without_end_ends(series, tmp_path, monkeypatch):
    peer = Peer(series)
    monkeypatch.setattr(peer, "matches", lambda _: changed(peer.files[:1], StudyDate="20260101") * 101)
    with dimse_peer(peer) as address:
        for bounds, message in ((replace(BOUNDS, n_found=100), "PACS finds more than 100; ask for less"),
                                (replace(BOUNDS, answer_bytes=9_000), "PACS sent more than 9000 bytes")):  # fmt: skip
            with pytest.raises(PacsError, match=message):
                run(address, tmp_path, bounds)


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_wildcard_is_no_uid(series, tmp_path, monkeypatch):
    peer = Peer(series)
    monkeypatch.setattr(peer, "matches", lambda _: changed(peer.files[:1], SeriesInstanceUID="*"))
    with dimse_peer(peer) as address:
        assert "a UID that is none" in run(address, tmp_path).records[0].reason


PEERS = {
    "never answers": lambda connection: connection.recv(1) and threading.Event().wait(5),
    "speaks another language": lambda connection: connection.sendall(b"HTTP/1.1 400 Zerbrowski\r\n\r\n" * 9),
    "promises 4 GiB": lambda connection: connection.sendall(b"\x02\x00\xff\xff\xff\xff" + bytes(5_000_000)),
    "hangs up": lambda connection: None,
}


@pytest.mark.parametrize("kind", PEERS)
def test_a_peer_that_is_none_is_left_in_time(tmp_path, capfd, caplog, kind):
    with raw_peer(PEERS[kind]) as address, pytest.raises(PacsError, match=r"PACS at 127.0.0.1:\d+ does not answer"):
        run(address, tmp_path, Bounds(seconds=1))
    captured = capfd.readouterr()
    assert "Zerbrowski" not in captured.out + captured.err + caplog.text


class Receiver:
    """Stands for pynetdicom's socket."""

    def __init__(self):
        self.dul = self.socket = self.assoc = self

    def recv(self, n_bytes):
        return bytearray(n_bytes)


@pytest.mark.parametrize(
    ("reads", "flaw"),
    [
        ([6, (1 << 20) + 1], "sent a message larger than agreed"),
        ([600_000, 600_000], "sent a message larger than agreed"),
        ([900_000, -900_000, 900_000, -900_000, 900_000], "sent more than 2000000 bytes"),
    ],
)
def test_a_line_is_cut_before_more_is_read(reads, flaw):
    line, transport = Line(20, 2_000_000, 1_000_000), Receiver()
    line.watch(transport)
    for n_bytes in reads[:-1]:
        if n_bytes < 0:
            line.handled(-n_bytes)
        else:
            assert len(transport.recv(n_bytes)) == n_bytes
    with pytest.raises(OSError, match=flaw):
        transport.recv(reads[-1])
    assert line.flaw == flaw
    late, transport = Line(-1, 100, 100), Receiver()
    late.watch(transport)
    with pytest.raises(OSError, match="took more than"):
        transport.recv(1)


def test_a_value_that_cannot_be_read_counts_as_none():
    class Broken(Dataset):
        def get(self, keyword, default=None):
            if keyword == "PatientID":
                raise ValueError(SECRET)
            return {"StudyInstanceUID": "1.2 ", "StudyDate": ["20260101", "20260102"]}.get(keyword)

    assert values_of(Broken(), "STUDY") == {"StudyInstanceUID": "1.2"}
