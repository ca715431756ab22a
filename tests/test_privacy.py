"""Nothing of a patient leaves the files he is in: not by name, by content, by log or by what is said."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom import config as pydicom_config

from medseg.cli.main import main
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.cohorts import manifest, medseg_in_turn, small_grid

SECRETS = {
    "PatientName": "Zerbrowski^Quentin",
    "PatientID": "PID7741QX",
    "PatientBirthDate": "19470312",
    "OtherPatientIDs": "OPID5519",
    "AccessionNumber": "ACC99231K",
    "InstitutionName": "Klinikum Xanadu",
    "ReferringPhysicianName": "Oberarzt^Wladimir",
    "StudyID": "STU5523W",
    "StudyDescription": "Zerbrowskis Kopf",
    "SeriesDescription": "t1 Zerbrowski",
    "DeviceSerialNumber": "SN4417731",
}
FOLDER = "Zerbrowski_geb_19470312"
WORDS = [*["Zerbrowski", "Quentin", "Xanadu", "Wladimir"], *(v for k, v in SECRETS.items() if "Name" not in k)]


def plant(folder: Path, seed: int) -> list[str]:
    """One DICOM series that names its patient everywhere; returns its UIDs."""
    paths = write_dicom_series(phantom(small_grid(), noise=8.0, seed=seed)[0], folder, seed=seed)
    uids: set[str] = set()
    for path in paths:
        found = pydicom.dcmread(path)
        for keyword, value in SECRETS.items():
            setattr(found, keyword, value)
        found.save_as(path)
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
        uids |= {str(getattr(found, name)) for name in names}
    return sorted(uids)


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and what is packed in it."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield from unpacked(path.name, path.read_bytes())


def unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if content[:2] == b"\x1f\x8b":
        yield f"{name} (unpacked)", gzip.decompress(content)
    if content[:4] == b"NRRD" and b"encoding: gzip" in content[:20000]:
        yield f"{name} (voxels)", gzip.decompress(content.split(b"\n\n", 1)[1])
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for inner in archive.namelist():
                yield from unpacked(f"{name}/{inner}", archive.read(inner))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A run over sound series and a damaged one that runs out of memory on each, and one that goes through."""
    folder = tmp_path_factory.mktemp("data") / FOLDER
    uids = plant(folder / "sound", 1) + plant(folder / "damaged", 2)
    for path in sorted((folder / "damaged").iterdir())[5:7]:
        path.unlink()
    second = folder / "Zerbrowski_2"
    uids += plant(second, 3)
    out = tmp_path_factory.mktemp("out") / "out"
    failing, going = out / "failed", out / "done"
    settings = ["training.max_steps=4", "clustering.method=cohort", "clustering.bias_sigma_mm=null"]
    words = ["--device", "cpu", "--write", "nifti,seg.nrrd,mrb", "--log-json"]
    both = medseg_in_turn(
        ["run", folder, "--config", "smoke", *(word for change in settings for word in ("--set", change)),
         "--out", failing, *words, "--max-memory", "0.05"],
        ["segment", folder, "--model", failing / "model", "--out", going, *words],
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("ended with 1") == 2, both.stdout
    assert {row["status"] for row in manifest(failing).values()} == {"failed", "refused"}
    assert {row["status"] for row in manifest(going).values()} == {"done", "refused"}, both.stderr
    return out, [*uids, str(folder)], both.stdout + both.stderr


def test_no_output_and_no_log_holds_a_secret(run):
    out, uids, said = run
    kinds = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert {
        ".gz",
        ".nrrd",
        ".mrb",
        ".png",
        ".npz",
        ".html",
        ".json",
        ".csv",
        ".ctbl",
        ".safetensors",
        ".log",
        ".js",
    } <= kinds
    n_looked_at = 0
    for name, content in [*contents(out), ("what was said", said.encode())]:
        n_looked_at += 1
        for word in [*WORDS, *uids]:
            for encoded in (word.encode(), word.lower().encode(), word.encode("utf-16-le")):
                assert encoded not in content, f"{word} in {name}"
    assert n_looked_at > 15


def test_no_name_of_a_file_holds_a_secret(run):
    out, uids, _ = run
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        assert not any(word.lower() in name.lower() for word in [*WORDS, *uids])


def test_the_search_finds_what_is_there(tmp_path):
    plant(tmp_path / "series", 1)
    found = b"".join(content for _, content in contents(tmp_path))
    assert all(word.encode() in found for word in WORDS)
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(b"Zerbrowski")
    assert any(b"Zerbrowski" in content for name, content in contents(tmp_path) if name == "a.gz (unpacked)")


@pytest.mark.filterwarnings("ignore")
def test_a_value_that_is_none_is_not_quoted(tmp_path, capfd):
    """pydicom warns of what it cannot read, and quotes it."""
    malformed = {"SpecificCharacterSet": "ZERBROWSKI", "PatientBirthDate": "geb. Zerbrowski", "StudyTime": "Zerbrowski",
                 "InstanceNumber": "1", "PatientWeight": "Zerbrowski"}  # fmt: skip
    for path in write_dicom_series(phantom(small_grid(), noise=8.0)[0], tmp_path / "in"):
        found = pydicom.dcmread(path)
        with pydicom_config.disable_value_validation():
            for keyword, value in malformed.items():
                found.add(pydicom.DataElement(keyword, "LO" if value != "1" else "IS", value))
            found.save_as(path)
    capfd.readouterr()
    assert main(["inspect", str(tmp_path / "in")]) == 0
    words = ["--config", "smoke", "--set", "training.max_steps=2", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(["run", str(tmp_path / "in"), *words, "--workers", "0", "--write", "nifti,dicomseg"]) == 1
    captured = capfd.readouterr()
    assert "zerbrowski" not in (captured.out + captured.err).lower()
