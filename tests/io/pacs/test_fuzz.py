"""Answers of a PACS damaged at random: the series asked for is accepted, else one sentence that quotes nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field

import pydicom
import pytest
from hypothesis import strategies as st

from medseg.batch import courier
from medseg.batch.courier import Courier
from medseg.io.pacs.base import Bounds, Credentials, PacsError, Query, Tls
from medseg.io.pacs.connect import Address
from medseg.io.pacs.dicomweb import WebPacs
from medseg.io.pacs.received import check_received
from tests.support.damaging_proxy import Damage, damaging_proxy
from tests.support.dicom_files import edit, remove, write_axial
from tests.support.fuzzing import Bytes, fuzzed, overwritten, refusing
from tests.support.hostile_dimse import Peer, dimse_peer, raw_peer
from tests.support.hostile_web import Holdings, Reply, honest

PATIENT, SECRET, TOKEN = "PHANTOM", "Zerbrowski^Quentin", "s3cret-token"
SECRETS = (SECRET, "Zerbrowski", TOKEN, PATIENT)
BOUNDS = Bounds(seconds=5, answer_bytes=100_000, instance_bytes=20_000, series_bytes=50_000, n_found=500)
N_FILES = 3


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    pytest.importorskip("requests")
    pytest.importorskip("pynetdicom")
    folder = tmp_path_factory.mktemp("series")
    paths = write_axial(folder)
    remove(*paths[N_FILES:])
    for path in paths[:N_FILES]:
        edit(path, PatientName=SECRET)
    return folder


def ask(pacs, series, folder):
    """Find, fetch and check everything; what is accepted is the series, for the patient and in the number asked for."""
    first = pydicom.dcmread(next(series.iterdir()))
    for found in pacs.find(Query(patient=PATIENT)).series:
        if found.flaw:
            raise PacsError(found.flaw)
        pacs.has(found.study_uid, found.series_uid)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        n_expected = pacs.fetch(found, folder)
        assert {path.parent for path in folder.rglob("*")} == {folder}
        check_received(folder, found, n_expected)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
        assert {str(header.get("SeriesInstanceUID")) for header in headers} == {found.series_uid}
        assert {str(header.get("StudyInstanceUID")) for header in headers} == {found.study_uid}
        assert {str(header.PatientID).strip(" ^").upper() for header in headers} == {found.patient.strip(" ^").upper()}
        assert len({header.SOPInstanceUID for header in headers}) == n_expected
        if found.series_uid == first.SeriesInstanceUID:
            assert found.patient.strip(" ^").upper() == PATIENT


def check_silence(capfd, caplog):
    captured = capfd.readouterr()
    said = captured.out + captured.err + "".join(r.getMessage() for r in caplog.records if r.name.startswith("medseg"))
    assert not [word for word in SECRETS if word in said]


@dataclass
class Lie:
    """How the answer on one route is damaged: bytes of it, its body, its status and headers."""

    route: str = ""
    places: list[tuple[int, bytes]] = field(default_factory=list)
    length: int | None = None
    body: bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def told(self, reply: Reply) -> bytes:
        """The whole answer as it goes over the line."""
        body = reply.body if self.body is None else self.body
        headers = {"Content-Type": reply.kind, "Content-Length": str(len(body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        whole = f"HTTP/1.1 {self.status} Said\r\n{head}Connection: close\r\n\r\n".encode("latin-1", "replace") + body
        return overwritten(whole, self.places, self.length)


Words = st.sampled_from([SECRET, "1.2", "*", "../..", "9" * 70])
Tags = st.sampled_from(["0020000D", "0020000E", "00201209", "00080060", "00100020", "Value", "vr", "x"])
Json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), Words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(Tags, inner, max_size=4)),
    max_leaves=12,
)
Headers = st.dictionaries(
    st.sampled_from(["Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Location", "X"]),
    st.sampled_from(["", "0", "7", "-1", "999999999999", "gzip", "br", "deflate, gzip", "chunked", "text/html", SECRET,
                     "multipart/related", "multipart/related; boundary=x", "application/dicom+json", "/elsewhere",
                     "http://localhost:9/" + SECRET, "//[", "é"]),
    max_size=3,
)  # fmt: skip
Lies = st.builds(
    Lie,
    route=st.sampled_from(["studies", "series", "fetch", "fetch", "has", "store"]),
    places=st.lists(st.tuples(st.integers(0, 6000), st.one_of(Bytes, st.just(SECRET.encode()))), max_size=3),
    length=st.one_of(st.none(), st.none(), st.integers(0, 6000)),
    body=st.one_of(st.none(), st.none(), Json.map(lambda x: json.dumps(x).encode()), st.binary(max_size=200)),
    status=st.sampled_from([200, 200, 200, 200, 202, 204, 206, 302, 307, 404, 409, 500, 999]),
    headers=Headers,
)


@pytest.fixture(scope="module")
def lying_web(series):
    """A server that tells each answer as the lie of the moment has it."""
    holdings, lie = Holdings(series, honest), Lie()

    def answer(connection):
        request = connection.makefile("rb")
        path = request.readline().split()[1].decode()
        length = 0
        while line := request.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body = request.read(length)
        reply = holdings.reply(path, {}, body)
        is_lie = holdings.asked[-1][0] == lie.route
        connection.sendall((lie if is_lie else Lie()).told(reply))

    with raw_peer(answer) as address:
        yield WebPacs(address.replace("PACS@", "http://"), Credentials(token=TOKEN), Tls(), BOUNDS), lie


@fuzzed(0.5, told=Lies)
@pytest.mark.filterwarnings("error:::medseg")
def test_dicomweb_answers(series, lying_web, tmp_path, capfd, caplog, told):
    pacs, lie = lying_web
    vars(lie).update(vars(told))
    with refusing(PacsError, secrets=SECRETS):
        if told.route == "store":
            pacs.store(next(series.iterdir()))
        else:
            ask(pacs, series, tmp_path / "in")
    check_silence(capfd, caplog)


Places = st.lists(st.tuples(st.one_of(st.integers(0, 400), st.integers(0, 20_000)),
                            st.one_of(Bytes, st.just(SECRET.encode()))), max_size=3).map(tuple)  # fmt: skip


@pytest.fixture(scope="module")
def lying_peer(series, tmp_path_factory):
    """A courier to a peer behind a relay that damages what it sends."""
    damage, peer = Damage(), Peer(series)
    grace, courier.GRACE_S = courier.GRACE_S, 1.0
    with dimse_peer(peer) as real, damaging_proxy(real, damage) as address:
        told = Address(
            dimse=address, credentials=Credentials(token=TOKEN), bounds=Bounds(seconds=1, series_bytes=10**6)
        )
        with Courier(told, tmp_path_factory.mktemp("out")) as pacs:
            yield pacs, damage
    courier.GRACE_S = grace


Lengths = st.one_of(st.none(), st.none(), st.integers(0, 9000))


@fuzzed(0.1, deadline=None, told=st.tuples(st.integers(0, 3), Places, Lengths))
def test_dimse_messages(series, lying_peer, tmp_path, capfd, caplog, told):
    pacs, damage = lying_peer
    damage.reset(*told)
    with refusing(PacsError, secrets=SECRETS):
        ask(pacs, series, tmp_path / "in")
    check_silence(capfd, caplog)


def test_what_is_not_damaged_is_accepted(series, lying_web, lying_peer, tmp_path):
    for pacs, lie in (lying_web, lying_peer):
        if isinstance(lie, Damage):
            lie.reset(-1)
        else:
            vars(lie).update(vars(Lie()))
        ask(pacs, series, tmp_path / "in")
        assert len(list((tmp_path / "in").iterdir())) == N_FILES
