"""Redirects of a DICOMweb server: to another host they are refused, within the server they are followed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medseg.io.pacs.base import PacsError, Query
from tests.support.dicom_files import write_axial
from tests.support.hostile_web import only, web_server
from tests.support.hostile_web_runs import check_silence, pacs, run

FAR = "http://localhost:9/dicom-web/studies?PatientName=Zerbrowski"


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_axial(folder)
    return folder


@pytest.mark.parametrize("route", ["studies", "series", "fetch", "store"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused_by_name(series, tmp_path, capfd, caplog, route, status):
    away = only(route, lambda reply: replace(reply, status=status, body=b"", headers={"Location": FAR}))
    with web_server(series, away) as (url, server):
        if route == "studies":
            with pytest.raises(PacsError, match="redirects to another host, port or scheme"):
                run(url, tmp_path)
            return
        (record,) = run(url, tmp_path).records
    assert "redirects to another host, port or scheme" in record.reason
    assert "localhost" not in record.reason
    check_silence(tmp_path, capfd.readouterr(), caplog.text)
    assert len(server.stored) == (route == "store")  # it arrived here, and nowhere else


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("https://127.0.0.1/dicom-web", "another host, port or scheme"),
        ("http://me:pw@HOST/dicom-web", "another host, port or scheme"),
        ("//[::1/", "no DICOMweb answer"),
        ("http://127.0.0.1:99999/", "no DICOMweb answer"),
        ("http://HOST/dicom-web/elsewhere", "redirects for ever"),
        ("", "redirects for ever"),
    ],
)
def test_odd_redirects(series, location, message):
    def away(reply):
        return replace(reply, status=302, headers={"Location": location.replace("HOST", host)}, body=b"")

    with web_server(series, lambda _, reply: away(reply)) as (url, _):
        host = url.split("/")[2]
        with pytest.raises(PacsError, match=message):
            pacs(url).find(Query(patient="PHANTOM"))


def test_a_redirect_within_the_server_is_followed(series, tmp_path):
    """As long as the method stays: what is stored is not asked for again as a page."""

    def moved(route, reply):
        _, path, _ = server.asked[-1]
        if path.startswith("/pacs/"):
            return reply
        if route == "store":
            server.stored.clear()
        return replace(reply, status=status, headers={"Location": path.replace("/dicom-web/", "/pacs/")}, body=b"")

    for status, is_stored in ((307, True), (302, False)):
        with web_server(series, moved) as (url, server):
            (record,) = run(url, tmp_path / str(status)).records
            assert record.is_done is is_stored
            assert len(server.stored) == is_stored
            assert is_stored or "answered 302 to: store a segmentation" in record.reason
