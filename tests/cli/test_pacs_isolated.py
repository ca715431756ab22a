"""`medseg pacs` as a whole, against a DICOMweb server that lies: processes, outputs, messages."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from medseg import read_labels
from medseg.cli.main import main
from medseg.io.dicom_seg.writer import read_dicom_seg
from tests.support.cohorts import leftovers, thick_series
from tests.support.dicom_files import edit
from tests.support.hostile_web import honest, only, web_server, with_body

SECRETS = ("Zerbrowski", "PHANTOM", "Phantom^Demo", "s3cret-token", "1.2.826")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    pytest.importorskip("requests")
    folder = thick_series(tmp_path_factory.mktemp("series"))
    for path in folder.iterdir():
        edit(path, PatientName="Zerbrowski^Quentin")
    return folder


@pytest.fixture
def command(quick_model, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_PACS_TOKEN", "s3cret-token")
    words = ["pacs", "--patient", "PHANTOM", "--model", str(quick_model), "--out", str(tmp_path / "out"),
             "--device", "cpu"]  # fmt: skip
    return lambda url, *more: main([*words, "--dicomweb", url, *more])


def rows(out):
    with (out / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def check_silence(out, captured):
    said = (captured.out + captured.err).encode()
    for path in (path for path in out.rglob("*") if path.is_file()):
        said += path.name.encode() + path.read_bytes()
    assert [word for word in SECRETS if word.encode() in said] == []
    assert leftovers(out) == []


def test_a_series_is_segmented_in_processes_of_its_own_and_stored(series, command, tmp_path, capfd):
    out = tmp_path / "out"
    with web_server(series, honest) as (url, server):
        assert command(url) == 0
        (stored,) = server.stored
    stored.save_as(tmp_path / "stored.dcm")
    labels, geometry = read_labels(next(out.glob("*_seg.nii.gz")))
    found, grid = read_dicom_seg(tmp_path / "stored.dcm")
    assert grid.is_close(geometry, 1e-3)
    assert np.array_equal(labels, found)
    assert [row["status"] for row in rows(out)] == ["done"]
    check_silence(out, capfd.readouterr())


def test_what_a_server_sends_costs_its_series(series, command, tmp_path, capfd):
    """Not DICOM, then a series that takes more memory than it may."""
    with web_server(series, with_body("fetch", b"Zerbrowski")) as (url, server):
        assert command(url) == 1
        assert rows(tmp_path / "out")[0]["reason"].startswith("pacs: 127.0.0.1:")
        server.tamper = honest
        assert command(url, "--max-memory", "0.05") == 1
        assert rows(tmp_path / "out")[0]["reason"].startswith("out_of_memory: took ")
        server.tamper = only("fetch", lambda reply: reply)
        assert server.stored == []
        assert command(url) == 0
        assert len(server.stored) == 1
    assert [row["status"] for row in rows(tmp_path / "out")] == ["done"]
    check_silence(tmp_path / "out", capfd.readouterr())


def test_a_series_larger_than_allowed_is_cut_off(series, command, tmp_path):
    with web_server(series) as (url, server):
        assert command(url, "--max-download", "0.0001") == 1
        assert server.stored == []
    assert "where no more may come" in rows(tmp_path / "out")[0]["reason"]
