"""DICOMweb servers that lie: each attack costs its own series, stores nothing, says why, and quotes nothing."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import cache
from io import BytesIO

import pydicom
import pytest

from medseg import ConfigError
from medseg.batch.outputs import Job
from medseg.io.pacs.base import Credentials, PacsError, Query
from medseg.io.pacs.http import checked_host
from medseg.model.record import read_records
from tests.support.dicom_files import write_axial
from tests.support.fake_pacs import segment_with_fake_model
from tests.support.hostile_web import Reply, failed, match, only, parts, web_server, with_body
from tests.support.hostile_web_runs import SECRET, check_silence, pacs, run


def changed(reply: Reply, contents: list[bytes]) -> Reply:
    return replace(reply, body=parts(contents))


def files_of(reply: Reply) -> list[bytes]:
    return [
        part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--") for part in reply.body.split(b"medseg-test-boundary")
    ][1:-1]


def with_elements(reply: Reply, **elements: str) -> Reply:
    """The same files with other elements."""
    found = []
    for content in files_of(reply):
        dataset = pydicom.dcmread(BytesIO(content))
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        file = BytesIO()
        dataset.save_as(file)
        found.append(file.getvalue())
    return changed(reply, found)


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(1 << 28), 6)


def packed(reply: Reply) -> Reply:
    return replace(reply, body=bomb(), headers={"Content-Encoding": "gzip"})


def study(**elements: object) -> bytes:
    return json.dumps(
        [match(pydicom.Dataset(), **{"StudyInstanceUID": "1.2", "PatientID": "PHANTOM", **elements})]
    ).encode()


FETCHES = {
    "another patient": (lambda r: with_elements(r, PatientID=SECRET), "images of another patient"),
    "another study": (lambda r: with_elements(r, StudyInstanceUID="1.2.3"), "images of another study"),
    "another series": (lambda r: with_elements(r, SeriesInstanceUID="1.2.3"), "images of another series"),
    "5 of 8": (lambda r: changed(r, files_of(r)[:5]), "sent 5 of 8 files"),
    "5 of 8, three twice": (lambda r: changed(r, [*files_of(r)[:5], *files_of(r)[:3]]), "5 different images of 8"),
    "8 and one more": (lambda r: changed(r, [*files_of(r), files_of(r)[0]]), "more than the 8 files"),
    "no file": (lambda r: changed(r, []), "sent 0 of 8 files"),
    "no closing boundary": (
        lambda r: replace(r, body=r.body[:-3], declares_length=False), "ended before the last file was complete"),
    "the end is missing": (
        lambda r: replace(r, body=r.body[:-900], declares_length=False), "ended before the last file was complete"),
    "nothing at all": (lambda r: replace(r, body=b"", declares_length=False), "ended before the last file"),
    "a page instead of a file": (
        lambda r: changed(r, [b"<html>Zerbrowski</html>", *files_of(r)[1:]]), "a file that is no readable DICOM"),
    "a page instead of the series": (
        lambda r: replace(r, kind="text/html", body=b"<html>Zerbrowski</html>"), "something else than DICOM files"),
    "no boundary": (lambda r: replace(r, kind="multipart/related"), "something else than DICOM files"),
    "a gzip bomb": (packed, "where no more may come"),
    "headers without end": (
        lambda r: replace(r, body=b"--medseg-test-boundary\r\n" + b"x" * 70_000), "where no more may come"),
    "a file larger than allowed": (lambda r: changed(r, [bytes(150_000)] * 8), "sent more than 100000 bytes"),
    "a series larger than allowed": (lambda r: changed(r, [bytes(60_000)] * 8), "where no more may come"),
    "an encoding not asked for": (lambda r: replace(r, headers={"Content-Encoding": "br"}), "no DICOMweb answer"),
    "gzip that ends early": (
        lambda r: replace(r, body=gzip.compress(r.body)[:-90], headers={"Content-Encoding": "gzip"}), "web answer"),
    "an error": (lambda r: replace(r, status=500, body=SECRET.encode()), "answered 500"),
}  # fmt: skip
"""What is sent instead of the series, and what is said of it."""
SEARCHES = {
    "no list": ("series", b'{"a": ["Zerbrowski"]}', "the search answered with a UID that is none"),
    "numbers": ("series", b"[1, 2, 3]", "gave no DICOMweb answer"),
    "text": ("series", b'"Zerbrowski"', "gave no DICOMweb answer"),
    "not a number": ("series", b"[NaN", "gave no DICOMweb answer"),
    "no JSON": ("series", b"<html>Zerbrowski", "gave no DICOMweb answer"),
    "100,000 deep": ("series", b"[" * 100_000, "gave no DICOMweb answer"),
    "too long": ("series", b'[{"a": "' + b"x" * 300_000 + b'"}]', "sent more than 200000 bytes"),
    "a path": ("series", study(SeriesInstanceUID="../../1.2?x=*", Modality="MR"), "a UID that is none"),
    "a wildcard": ("series", study(SeriesInstanceUID="*", Modality="MR"), "a UID that is none"),
    "a path as study": ("studies", study(StudyInstanceUID="1.2/../..", Modality="MR"), "a UID that is none"),
}  # fmt: skip
"""What is answered to a search, and what is said of it."""


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_axial(folder)
    return folder


def test_an_honest_server_gets_a_segmentation(series, tmp_path, capfd):
    with web_server(series) as (url, server):
        assert run(url, tmp_path).records[0].is_done
        assert len(server.stored) == 1
        assert server.stored[0].PatientID == "PHANTOM"
        assert run(url, tmp_path).n_known == 1
    check_silence(tmp_path, capfd.readouterr())


def test_a_server_that_packs_what_it_sends_is_understood(series, tmp_path):
    def pack(_, reply):
        return replace(reply, body=gzip.compress(reply.body), headers={"Content-Encoding": "gzip"})

    with web_server(series, pack) as (url, server):
        assert run(url, tmp_path).records[0].is_done
        assert len(server.stored) == 1


def test_a_server_that_counts_no_instances_is_asked_for_each(series, tmp_path):
    counted = only("series", lambda r: replace(r, body=json.dumps([{k: v for k, v in json.loads(r.body)[0].items()
                                                                    if k != "00201209"}]).encode()))  # fmt: skip
    with web_server(series, counted) as (url, server):
        assert run(url, tmp_path).records[0].is_done
        assert "instances" in [route for route, _, _ in server.asked]
    with web_server(series, lambda route, r: replace(r, body=b"[]") if route == "instances" else counted(route, r)) as (
        url,
        server,
    ):
        assert "does not say how many files" in run(url, tmp_path).records[0].why
        assert server.stored == []


@pytest.mark.parametrize("attack", FETCHES)
def test_what_is_not_the_series_is_not_stored(series, tmp_path, capfd, caplog, attack):
    lie, reason = FETCHES[attack]
    with web_server(series, only("fetch", lie)) as (url, server):
        (record,) = run(url, tmp_path).records
        assert server.stored == []
    assert (record.status, record.code) == ("failed", "pacs")
    assert reason in record.reason
    assert read_records(tmp_path) == [record]
    check_silence(tmp_path, capfd.readouterr(), caplog.text)


@pytest.mark.parametrize("attack", SEARCHES)
def test_an_answer_of_the_wrong_shape_costs_its_series(series, tmp_path, capfd, caplog, attack):
    route, body, reason = SEARCHES[attack]
    with web_server(series, with_body(route, body)) as (url, server):
        (record,) = run(url, tmp_path).records
        assert server.stored == []
        assert all(".." not in path and "*" not in path for _, path, _ in server.asked)
    assert (record.status, record.code) == ("failed", "pacs")
    assert reason in record.reason
    check_silence(tmp_path, capfd.readouterr(), caplog.text)


def test_a_malformed_value_of_an_answer_is_never_quoted(series, tmp_path, capfd, recwarn, caplog):
    """A birth date that is none made pydicom print it."""

    def add(reply):
        answers = [{**json.loads(reply.body)[0], "00100030": {"vr": "DA", "Value": ["geb. 12.3.1947"]},
                    "00100010": {"vr": "PN", "Value": [{"Alphabetic": SECRET}]}}]  # fmt: skip
        return replace(reply, body=json.dumps(answers).encode())

    with web_server(series, lambda route, r: add(r) if route in {"studies", "series"} else r) as (url, _):
        assert run(url, tmp_path).records[0].is_done
    captured = capfd.readouterr()
    assert "1947" not in captured.out + captured.err + caplog.text + "".join(str(w.message) for w in recwarn)
    check_silence(tmp_path, captured, caplog.text)


def test_studies_that_were_not_asked_for_are_left_out(series, tmp_path):
    others = [{"PatientID": SECRET}, {"StudyDate": "20200101"}]
    for other in others:
        with web_server(series, with_body("studies", study(**other))) as (url, server):
            query = Query(patient="PHANTOM", date="20260101-")
            outcome = segment_with_fake_model(pacs(url), query, Job(tmp_path))
            assert (outcome.records, outcome.n_others) == ([], 1)
            assert {route for route, _, _ in server.asked} == {"studies"}


DATES = {"20260101": True, "20260101-20260301": True, "-20260101": True, "20260102-": False, "20251231": False,
         "-20251231": False}  # fmt: skip


@pytest.mark.parametrize(("date", "is_named"), DATES.items())
def test_a_study_has_the_date_that_was_asked_for(date, is_named):
    assert Query(date=date).names({"StudyDate": "20260101"}) is is_named
    assert Query(date=date).names({"StudyDate": "2026.01.01"})
    assert not Query(study="1.2").names({"StudyInstanceUID": "1.3"})
    assert Query(patient="ab ").names({"PatientID": "AB"})


def test_a_search_without_end_ends(series, tmp_path):
    n_asked = 0

    def more(reply):
        nonlocal n_asked
        n_asked += 1
        uids = [f"1.2.{n_asked}.{n}" for n in range(500)]
        return replace(reply, body=json.dumps([{"0020000D": {"Value": [uid]}} for uid in uids]).encode())

    with web_server(series, only("studies", more)) as (url, _), pytest.raises(PacsError, match="finds more than 1000"):
        run(url, tmp_path)
    assert n_asked == 3


def test_an_answer_to_a_store_that_is_too_long_or_refuses(series, tmp_path):
    for body, reason in ((bytes(300_000), "sent more than 200000 bytes"), (failed(0xA700), "0xA700"),
                         (b'{"00081198": {"Value": [7]}}', "reason 0x0000")):  # fmt: skip
        with web_server(series, with_body("store", body)) as (url, _):
            assert reason in run(url, tmp_path).records[0].reason


@pytest.mark.parametrize("url", ["https://[::1", "https://p:x/", "https://p/?a=b", "ftp://p", "https://", "p"])
def test_an_address_that_is_none(url):
    with pytest.raises(ConfigError, match="--dicomweb: found"):
        checked_host(url, Credentials())
