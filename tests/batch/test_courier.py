"""The process that talks to a PACS: whatever happens to it costs one errand, and the next one gets another process."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import cast

import pytest

from medseg.batch import courier
from medseg.batch.courier import Courier, Errand, Reply, run_errand
from medseg.errors import ConfigError
from medseg.io.pacs.base import Bounds, Credentials, Pacs, PacsError, Query, Series, StorageRefusedError
from medseg.io.pacs.connect import Address
from tests.support.dicom_files import write_axial
from tests.support.hostile_dimse import raw_peer
from tests.support.hostile_web import honest, only, web_server

SECRET = "s3cret-token"


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    pytest.importorskip("requests")
    folder = tmp_path_factory.mktemp("series")
    write_axial(folder)
    return folder


def address(url, seconds=60.0):
    return Address(dicomweb=url, credentials=Credentials(token=SECRET), bounds=Bounds(seconds=seconds))


def test_errands_go_to_the_server_and_back(series, tmp_path):
    with web_server(series, honest) as (url, server), Courier(address(url), tmp_path) as pacs:
        (found,) = pacs.find(Query(patient="PHANTOM")).series
        assert found.n_instances == 8
        assert not pacs.has(found.study_uid, found.series_uid)
        (tmp_path / "in").mkdir()
        assert pacs.fetch(found, tmp_path / "in") == 8
        files = sorted((tmp_path / "in").iterdir())
        assert [file.read_bytes() for file in files] == [path.read_bytes() for path in sorted(series.iterdir())]
        pacs.store(files[0])
        assert pacs.has(found.study_uid, found.series_uid)
        assert {headers["Authorization"] for _, _, headers in server.asked} == {f"Bearer {SECRET}"}
        server.tamper = only("has", lambda reply: replace(reply, status=404))
        with pytest.raises(PacsError, match="answered 404"):
            pacs.has("1.2", "1.2.3")
        server.tamper = only("store", lambda reply: replace(reply, status=415))
        with pytest.raises(StorageRefusedError, match="answered 415"):
            pacs.store(files[0])
    assert list((tmp_path / ".medseg").iterdir()) == []


def test_one_that_takes_too_long_or_too_much_is_ended_and_replaced(tmp_path, monkeypatch, capfd):
    def trickle(connection: socket.socket) -> None:
        """A header that goes on for ever: every byte is in time."""
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Patient: ")
        while True:
            connection.sendall(b"Zerbrowski")
            time.sleep(0.05)

    monkeypatch.setattr(courier, "GRACE_S", 0.5)
    slow_pacs = raw_peer(trickle)
    with slow_pacs as slow, Courier(address(slow.replace("PACS@", "http://"), 1.0), tmp_path) as pacs:
        for _ in range(2):
            with pytest.raises(PacsError, match=r"127.0.0.1:\d+ took more than 1 s; try again, or give more"):
                pacs.has("1.2", "1.2.3")
        monkeypatch.setattr(courier, "COURIER_BYTES", 1)
        other = Courier(address(slow.replace("PACS@", "http://")), tmp_path)
        with other, pytest.raises(PacsError, match="sent took too much memory"):
            other.has("1.2", "1.2.3")
    captured = capfd.readouterr()
    assert "Zerbrowski" not in captured.out + captured.err


def test_many_small_objects_are_refused_before_they_are_made(series, tmp_path):
    many = b"[" + b"{}," * 2_100_000 + b"{}]"
    lying = web_server(series, only("studies", lambda reply: replace(reply, body=many)))
    error = pytest.raises(PacsError, match="gave no DICOMweb answer")
    with lying as (url, _), Courier(address(url), tmp_path) as pacs, error:
        pacs.find(Query(patient="PHANTOM"))
    assert len(json.loads(many)) == 2_100_001


class Raising:
    def __init__(self, error):
        self.error = error

    def has(self, *_):
        raise self.error


def reply_to(error):
    return run_errand(cast(Pacs, Raising(error)), Errand("has", ("1.2", "1.2.3")))


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (PacsError("PACS is asleep"), Reply(error="PACS is asleep")),
        (StorageRefusedError("no"), Reply(error="no", is_refused=True)),
        (OSError(28, "No space left on device"),
         Reply(error="No space left on device; free space or memory and run again")),
        (MemoryError(), Reply(error="what the PACS sent does not fit into memory; look at the PACS")),
    ],
)  # fmt: skip
def test_every_exception_is_a_reply(error, reply):
    assert reply_to(error) == reply


def test_a_bug_is_named_by_its_place_and_quotes_nothing():
    reply = reply_to(ZeroDivisionError(SECRET))
    assert reply.error.startswith("ZeroDivisionError in ")
    assert SECRET not in reply.error


def test_what_is_secret_is_not_shown():
    shown = repr(
        (address("https://p"), Query(patient=SECRET, study="1.2.3"), Series("1.2.3", "1.2.4", "MR", "", SECRET))
    )
    assert not [word for word in (SECRET, "1.2.3", "1.2.4") if word in shown]


def test_a_wrong_address_is_found_out_before_any_process(tmp_path):
    with pytest.raises(ConfigError, match="--dicomweb"):
        Courier(address("pacs"), tmp_path)
