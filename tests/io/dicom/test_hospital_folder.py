"""A folder as a PACS exports it: what is no volume, names of patients, tilted series."""

from __future__ import annotations

import csv
import json
from typing import Any

import pydicom
import pytest

from medseg.cli.main import main
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.scans import GRIDS


def manifest(out):
    with (out / "manifest.csv").open() as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """An export as a PACS makes it: folders named after the patient, a series, a localiser, a report, a screenshot."""
    folder = tmp_path_factory.mktemp("export") / "DOE^JANE" / "STUDY 1"
    image = phantom(GRIDS["RAS"], noise=8.0, seed=5)[0]
    write_dicom_series(image, folder / "T1", modality="MR")
    odd: dict[str, dict[str, Any]] = {
        "localiser": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "screenshot": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImagePositionPatient": None},
        "report": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Rows": None, "PixelData": None},
        "x-ray": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "ImagePositionPatient": None},
    }
    for number, (name, changes) in enumerate(odd.items()):
        found = pydicom.dcmread(folder / "T1" / "IM0001.dcm")
        found.SeriesInstanceUID, found.SOPInstanceUID = f"1.2.3.{number}", f"1.2.4.{number}"
        for keyword, value in changes.items():
            if value:
                setattr(found, keyword, value)
            else:
                delattr(found, keyword)
        found.save_as(folder / name)
    return folder.parents[1]


def test_what_never_was_a_volume_is_no_failure(hospital, model_folder, tmp_path, capsys):
    assert main(["inspect", str(hospital), "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert sorted(item["verdict"] for item in objects) == ["not_a_volume"] * 4 + ["ok"]
    assert main(["inspect", str(hospital)]) == 0
    text = capsys.readouterr().out
    assert "5 scans found: 1 ok, 0 refused, 4 never were volumes" in text
    assert "DOE" not in text
    out = tmp_path / "out"
    assert main(["segment", str(hospital), "--model", str(model_folder), "--out", str(out), "--device", "cpu"]) == 0
    assert "4 DICOM series are no volumes" in " ".join(capsys.readouterr().err.split())
    assert [row["status"] for row in manifest(out).values()] == ["done"]
    for file in out.rglob("*"):
        assert "DOE" not in str(file.relative_to(out))
        assert not file.is_file() or b"DOE^JANE" not in file.read_bytes()


def test_only_bystanders_are_a_wrong_folder(hospital, model_folder, tmp_path, capsys):
    source = hospital / "DOE^JANE" / "STUDY 1" / "report"
    assert main(["segment", str(source), "--model", str(model_folder), "--out", str(tmp_path / "out")]) == 2
    assert "found no volume" in capsys.readouterr().err


def test_names_and_regridding_on_request(hospital, tmp_path, capsys):
    main(["inspect", str(hospital), "--json", "--keep-names"])
    names = [item["id"] for item in json.loads(capsys.readouterr().out)]
    assert any(name.startswith("DOE^JANE/STUDY 1/T1/mr1-") for name in names)
    for k, path in enumerate(write_dicom_series(phantom(GRIDS["RAS"])[0], tmp_path / "tilted")):
        found = pydicom.dcmread(path)
        x, y, z = found.ImagePositionPatient
        found.ImagePositionPatient = [x, float(y) + 0.2 * k, z]
        found.save_as(path)
    assert main(["inspect", str(tmp_path)]) == 1
    assert "gantry_tilt" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path), "--regrid", "--json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)
    assert item["verdict"] == "ok"
    assert item["regrid"].startswith("regridded: ")
