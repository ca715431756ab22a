"""`medseg convert`: names, grids and values are those that medseg works on; a bad scan costs itself; it goes on."""

from __future__ import annotations

import csv
import gzip
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg import Model, find_scans, read_scan
from medseg.cli.main import main
from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.cohorts import leftovers, small_grid, write_poison
from tests.support.scans import GRIDS, load_nifti, nifti_grid, write_nifti


def manifest(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


@pytest.fixture
def scans(tmp_path):
    """A NIfTI of fractions in a folder, a CT and an MR series, a broken file."""
    folder = tmp_path / "Doe_Jane"
    write_nifti(phantom(small_grid(), noise=8.0)[0], folder / "a" / "b.nii.gz")
    oblique = Geometry((40, 44, 36), GRIDS["oblique"].affine @ np.diag([2.5, 2.5, 2.5, 1]))
    write_dicom_series(phantom(oblique, noise=8.0)[0], folder / "s1", modality="CT", seed=1)
    for path in write_dicom_series(phantom(small_grid(), noise=8.0)[0], folder / "s2", modality="MR", seed=2):
        found = pydicom.dcmread(path)
        found.PatientName, found.PatientID = "Doe^Jane", "PID7741QX"
        found.save_as(path)
    (folder / "broken.nii.gz").write_text("no image")
    return folder


def test_files_hold_what_medseg_reads(scans, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["convert", str(scans), "--out", str(out)]) == 1
    rows = manifest(out)
    assert len(rows) == 4
    assert rows["broken"]["status"] == "refused"
    assert rows["broken"]["reason"].startswith("corrupt_file: broken.nii.gz: not a readable")
    assert (rows["broken"]["file"], rows["a/b"]["file"]) == ("", "a/b.nii.gz")
    for scan in find_scans(scans):
        if scan.is_ok:
            image, file = read_scan(scan), load_nifti(out / rows[scan.id]["file"])
            assert np.array_equal(np.asarray(file.dataobj), image.as_tensor()[0].numpy())
            assert nifti_grid(file).is_close(Geometry.of(image), 1e-3)
    kinds = {name[:2]: load_nifti(out / row["file"]).get_data_dtype() for name, row in rows.items() if row["file"]}
    assert kinds == {"a/": np.float32, "ct": np.int16, "mr": np.float32}
    assert {scan.id: scan.verdict for scan in find_scans(out)} == {
        name: "ok" for name, row in rows.items() if row["file"]
    }
    assert "3 of 4 scans converted" in capsys.readouterr().err


def test_nothing_private_is_in_names_or_files(scans, tmp_path):
    out = tmp_path / "out"
    main(["convert", str(scans), "--out", str(out)])
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 7
    for path in files:
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        for word in (b"Doe", b"Jane", b"PID7741QX", str(scans).encode()):
            assert word not in content, path
            assert word.decode() not in path.relative_to(out).as_posix()


def test_the_same_command_goes_on(scans, tmp_path):
    out = tmp_path / "out"
    words = ["convert", str(scans), "--out", str(out)]
    main(words)
    times = {path.name: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    (out / "a" / "b.nii.gz").unlink()
    second = next(path for path in sorted((scans / "s1").iterdir()))
    shutil.copy(second, second.with_suffix(".new"))
    second.with_suffix(".new").replace(second)  # touched, the same content
    assert main(words) == 1
    again = {path.name for path in out.rglob("*.nii.gz") if path.stat().st_mtime_ns != times[path.name]}
    assert again == {"b.nii.gz"}
    write_nifti(phantom(small_grid(), noise=8.0, seed=9)[0], scans / "broken.nii.gz")
    assert main(words) == 0
    (scans / "broken.nii.gz").write_text("no image again")
    assert main(words) == 1
    assert not (out / "broken.nii.gz").exists()
    assert leftovers(out) == []


def test_whatever_a_scan_does_costs_that_scan_only(scans, tmp_path, monkeypatch):
    write_poison(scans, ["corrupt", "truncated", "nan", "lying"])
    real = read_scan

    def failing(scan):
        if scan.id.startswith("ct"):
            raise ValueError("a path of a patient")
        if scan.id.startswith("mr"):
            raise OSError(28, "No space left on device")
        return real(scan)

    monkeypatch.setattr("medseg.batch.convert_scans.read_scan", failing)
    assert main(["convert", str(scans), "--out", str(tmp_path / "out")]) == 1
    rows = manifest(tmp_path / "out")
    assert {name[:4]: row["reason"].split(":")[0] for name, row in rows.items()} == {
        "00co": "corrupt_file", "01tr": "corrupt_file", "02na": "not_finite", "03ly": "corrupt_file", "a/b": "",
        "brok": "corrupt_file", rows_of(rows, "ct"): "error", rows_of(rows, "mr"): "machine",
    }  # fmt: skip
    (log,) = (tmp_path / "out" / "log").glob("ct*.log")
    assert "ValueError" in log.read_text()
    assert "patient" not in log.read_text()


def rows_of(rows, prefix):
    return next(name[:4] for name in rows if name.startswith(prefix))


def test_folders_of_segmentations_and_of_images_are_not_mixed(scans, quick_model, tmp_path, capsys):
    out, one = tmp_path / "out", str(scans / "a" / "b.nii.gz")
    segment = ["segment", one, "--model", str(quick_model), "--out", str(out), "--workers", "0"]
    assert main(segment) == 0
    assert main(["convert", one, "--out", str(out)]) == 2
    assert "found what medseg segment wrote, expected a new folder" in capsys.readouterr().err
    assert main(["convert", one, "--out", str(tmp_path / "images")]) == 0
    assert main([*segment[:-3], str(tmp_path / "images"), *segment[-2:]]) == 2
    assert "found images that medseg convert wrote, expected none" in capsys.readouterr().err
    assert (tmp_path / "images" / "b.nii.gz").is_file()


def test_what_was_converted_is_segmented_alike(scans, quick_model, tmp_path):
    series = next(scan for scan in find_scans(scans) if scan.id.startswith("mr"))
    assert main(["convert", str(scans), "--include", "mr*", "--out", str(tmp_path / "out")]) == 0
    model = Model.load(quick_model, device="cpu")
    converted = model.segment(tmp_path / "out" / f"{series.id}.nii.gz")
    assert np.array_equal(converted.labels, model.segment(series).labels)
