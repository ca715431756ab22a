"""`medseg stats` and the tables of `segment` agree with a plain computation; a bad scan costs itself."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import main
from medseg.config import Config
from medseg.io.label_volumes import read_labels, write_labels
from medseg.labels.table import LabelTable
from medseg.model.outputs import Output
from medseg.model.record import JobFacts, Record, read_record, write_record
from sample_data.phantom import phantom
from sample_data.two_channels import two_channels
from tests.support.cohorts import small_grid
from tests.support.scans import load_nifti, nifti_grid, write_nifti
from tests.support.two_channel_cases import GRID


def table(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows by scan, label, and channel where there are some."""
    with path.open(newline="") as file:
        return {(r["scan"], r["label"], r.get("channel", "")): r for r in csv.DictReader(file)}


def folder_of(out: Path, scans: dict[str, np.ndarray], *, modality: str = "MR", channels: tuple[str, ...] = ()) -> Path:
    """An output folder of label maps, as `segment` leaves it but for the tables."""
    config = Config().model_copy(update={"channels": Config().channels.model_copy(update={"names": channels})})
    facts = {"config": config.model_dump(mode="json"), "plan": {"modality": modality},
             "labels": [label.model_dump(mode="json") for label in LabelTable.default(3)]}  # fmt: skip
    grid = GRID if channels else small_grid()
    for name, labels in scans.items():
        write_labels(labels, grid, out / f"{name}_seg.nii.gz")
        write_record(out, Record(name, "done", job=JobFacts("model", (Output.NIFTI,))))
    (out / "run.json").write_text(json.dumps(facts))
    return out


@pytest.fixture
def case(tmp_path):
    """Two CT-like phantoms with their truth as labels, and the folder of these labels."""
    truths = {}
    for seed, name in enumerate(("a", "deep/b")):
        image, truths[name] = phantom(small_grid(), noise=8.0, seed=seed)
        write_nifti(image, tmp_path / "scans" / f"{name}.nii.gz")
    return tmp_path / "scans", folder_of(tmp_path / "out", truths, modality="CT")


def assert_as_numpy_has_it(out: Path, scans: Path, name: str, *, channel: str = "", file: str = "") -> None:
    """Compare both tables with nibabel and numpy."""
    volumes, found = table(out / "volumes.csv"), table(out / "statistics.csv")
    labels = np.asarray(load_nifti(out / f"{name}_seg.nii.gz").dataobj)
    image = load_nifti(scans / f"{file or name}.nii.gz")
    voxels, ml = np.asarray(image.dataobj, dtype=np.float64), abs(np.linalg.det(image.affine[:3, :3])) / 1000
    for number in (1, 2, 3):
        inside = voxels[labels == number]
        row, volume = found[name, str(number), channel], volumes[name, str(number), ""]
        expected = (inside.mean(), inside.std(), *np.percentile(inside, (50, 5, 95)))
        assert [float(row[key]) for key in ("mean", "sd", "median", "p05", "p95")] == pytest.approx(expected, rel=1e-9)
        assert int(row["n_voxels"]) == inside.size
        assert float(volume["ml"]) == pytest.approx(inside.size * ml, rel=1e-9)
        assert float(volume["share"]) == pytest.approx(inside.size / (labels > 0).sum(), rel=1e-9)


def test_segmenting_writes_the_numbers_and_stats_gives_them_again(phantom_scans, model_folder, tmp_path, capsys):
    scans, out = phantom_scans / "scans", tmp_path / "out"
    words = ["segment", str(scans), "--model", str(model_folder), "--out", str(out), "--workers", "0"]
    assert main([*words, "--shard", "1/2"]) == 0
    assert {key[0] for key in table(out / "volumes.csv")} == {"LPS"}
    assert main([*words, "--shard", "2/2"]) == 0
    for name in ("RAS", "LPS"):
        assert_as_numpy_has_it(out, scans, name)
    said = capsys.readouterr().err
    assert f"tables: {out}/volumes.csv, statistics.csv" in said
    assert "the labels have no names yet: look at them in the report, then" in said
    written = {name: (out / name).read_bytes() for name in ("volumes.csv", "statistics.csv", "manifest.csv")}
    for name in written:
        (out / name).unlink()
    assert main(["stats", str(out), "--scans", str(scans)]) == 0
    assert {name: (out / name).read_bytes() for name in written} == written
    assert main(words) == 0  # nothing is done again, and the tables stay
    assert {name: (out / name).read_bytes() for name in written} == written


def test_hounsfield_units_and_a_map_corrected_by_hand(case):
    scans, out = case
    assert main(["stats", str(out), "--scans", str(scans)]) == 0
    assert {row["unit"] for row in table(out / "statistics.csv").values()} == {"HU"}
    labels, grid = read_labels(out / "deep/b_seg.nii.gz")
    labels[:18][labels[:18] == 2] = 3
    write_labels(labels, grid, out / "deep/b_seg.nii.gz")
    assert main(["stats", str(out), "--scans", str(scans), "--include", "deep"]) == 0
    for name in ("a", "deep/b"):
        assert_as_numpy_has_it(out, scans, name)


def test_each_channel_has_its_rows(tmp_path):
    channels, truth = two_channels(GRID, seed=0, shift_mm=0.0)
    stem = "sub-1/anat/sub-1"
    for name, channel in zip(("T1w", "FLAIR"), channels, strict=True):
        write_nifti(channel, tmp_path / "scans" / f"{stem}_{name}.nii.gz")
    out = folder_of(tmp_path / "out", {f"{stem}_T1w": truth}, channels=("T1w", "FLAIR"))
    assert main(["stats", str(out), "--scans", str(tmp_path / "scans"), "--radiomics"]) == 0
    for name in ("T1w", "FLAIR"):
        assert_as_numpy_has_it(out, tmp_path / "scans", f"{stem}_T1w", channel=name, file=f"{stem}_{name}")
    features = table(out / "radiomics.csv")
    assert {key[2] for key in features} == {"T1w", "FLAIR"}
    means = [features[f"{stem}_T1w", "2", name]["stat_mean"] for name in ("T1w", "FLAIR")]
    statistics = table(out / "statistics.csv")
    assert means == [statistics[f"{stem}_T1w", "2", name]["mean"] for name in ("T1w", "FLAIR")]
    shapes = {features[f"{stem}_T1w", "2", name]["morph_vol"] for name in ("T1w", "FLAIR")}
    assert len(shapes) == 1


def test_features_stay_while_what_they_were_made_of_does(case):
    scans, out = case
    words = ["stats", str(out), "--scans", str(scans), "--include", "a.nii.gz"]
    assert main([*words, "--radiomics"]) == 0
    first = (out / "radiomics.csv").read_bytes()
    assert main(words) == 0
    assert (out / "radiomics.csv").read_bytes() == first
    image = load_nifti(scans / "a.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), scans / "a.nii.gz")
    assert main(words) == 0
    assert not (out / "radiomics.csv").exists()


def moved(scans: Path, out: Path) -> None:
    image = load_nifti(scans / "a.nii.gz")
    affine = image.affine.copy()
    affine[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), scans / "a.nii.gz")


def too_many_labels(scans: Path, out: Path) -> None:
    labels, grid = read_labels(out / "a_seg.nii.gz")
    labels[0, 0, 0] = 9
    write_labels(labels, grid, out / "a_seg.nii.gz")


BAD = {
    "damaged": (lambda scans, out: (scans / "a.nii.gz").write_bytes(b"none"), "corrupt_file: a.nii.gz: not a readable"),
    "elsewhere": (moved, "other_grid: the scan lies on another grid than its label map: found Geometry"),
    "no map": (lambda scans, out: (out / "a_seg.nii.gz").unlink(), "no_labels: its label map a_seg.nii.gz is not"),
    "labels": (too_many_labels, "unknown_label: its label map has the labels [9], expected some of [1, 2, 3]"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_scan_costs_itself(case, name, capsys):
    scans, out = case
    spoil, said = BAD[name]
    spoil(scans, out)
    before = read_record(out, "a")
    assert main(["stats", str(out), "--scans", str(scans)]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert f"a: {said}" in text
    assert "1 of 2 scans measured" in text
    assert read_record(out, "a") == before
    found = table(out / "statistics.csv")
    assert {key[0] for key in found} == {"deep/b"}


def test_a_machine_that_fails_costs_the_scan(case, monkeypatch, capsys):
    scans, out = case

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("medseg.cli.stats.read_scan", full)
    assert main(["stats", str(out), "--scans", str(scans)]) == 1
    assert "a: machine: MemoryError; free space or memory and run again" in capsys.readouterr().err


def test_scans_that_are_not_there_are_counted(case, tmp_path, capsys):
    scans, out = case
    (scans / "a.nii.gz").unlink()
    assert main(["stats", str(out), "--scans", str(scans)]) == 1
    assert "1 segmented scans are not below" in capsys.readouterr().err
    shutil.move(scans / "deep" / "b.nii.gz", scans / "other.nii.gz")
    assert main(["stats", str(out), "--scans", str(scans)]) == 2
    assert "found none of the 2 segmented scans of" in capsys.readouterr().err


def test_a_folder_that_segment_did_not_write_is_refused(case, tmp_path, capsys):
    scans, out = case
    (out / "run.json").write_text("{}")
    assert main(["stats", str(out), "--scans", str(scans)]) == 2
    assert (
        "found no run.json that can be read, expected a folder that `medseg segment` wrote" in capsys.readouterr().err
    )
    assert main(["stats", str(tmp_path), "--scans", str(scans)]) == 2
    assert "found no .medseg with records" in capsys.readouterr().err
    assert nifti_grid(load_nifti(out / "a_seg.nii.gz")).is_close(small_grid())


@pytest.fixture(scope="module")
def segmented(phantom_scans, model_folder, tmp_path_factory):
    """An output folder around its model."""
    out, scan = tmp_path_factory.mktemp("segmented") / "out", str(phantom_scans / "scans" / "RAS.nii.gz")
    shutil.copytree(model_folder, out / "model")
    assert main(["segment", scan, "--model", str(out / "model"), "--out", str(out), "--workers", "0"]) == 0
    return out


def test_cutting_keeps_the_numbers_of_the_labels_that_stay(segmented, phantom_scans, tmp_path):
    out = shutil.copytree(segmented, tmp_path / "out")
    before, volumes = table(out / "statistics.csv"), table(out / "volumes.csv")
    assert main(["label", str(out / "model"), "--cut", "2"]) == 0
    cut, left = table(out / "volumes.csv"), table(out / "statistics.csv")
    assert len(cut) == 2
    assert sum(float(row["share"]) for row in cut.values()) == pytest.approx(1)
    (same,) = left.values()  # the one of three that was not joined with another
    old = next(row for row in before.values() if row["n_voxels"] == same["n_voxels"])
    assert {**same, "label": "", "name": ""} == {**old, "label": "", "name": ""}
    assert cut["RAS", same["label"], ""]["ml"] == volumes["RAS", old["label"], ""]["ml"]
    assert main(["stats", str(out), "--scans", str(phantom_scans / "scans" / "RAS.nii.gz")]) == 0
    again = table(out / "statistics.csv")
    assert again["RAS", same["label"], ""] == same
    assert sum(int(row["n_voxels"]) for row in again.values()) == sum(int(row["n_voxels"]) for row in before.values())


def test_merging_keeps_the_numbers_of_the_labels_that_stay(segmented, phantom_scans, tmp_path, capsys):
    scans, out = phantom_scans / "scans" / "RAS.nii.gz", shutil.copytree(segmented, tmp_path / "out")
    folder = out / "model"
    before, volumes = table(out / "statistics.csv"), table(out / "volumes.csv")
    assert main(["label", str(folder), "--name", "3=white matter"]) == 0
    assert "lacks the labels that changed" not in capsys.readouterr().err
    named = table(out / "statistics.csv")
    assert {**named["RAS", "3", ""], "name": "label 3"} == before["RAS", "3", ""]
    assert table(out / "volumes.csv")["RAS", "3", ""]["name"] == "white matter"
    assert main(["label", str(folder), "--merge", "1,2"]) == 0
    assert f"medseg stats {out} --scans SCANS measures them" in " ".join(capsys.readouterr().err.split())
    assert set(table(out / "statistics.csv")) == {("RAS", "3", "")}
    assert table(out / "statistics.csv")["RAS", "3", ""] == named["RAS", "3", ""]
    merged = table(out / "volumes.csv")
    assert set(merged) == {("RAS", "1", ""), ("RAS", "3", "")}
    both = sum(float(volumes["RAS", number, ""]["ml"]) for number in "12")
    assert float(merged["RAS", "1", ""]["ml"]) == pytest.approx(both)
    assert main(["stats", str(out), "--scans", str(scans)]) == 0
    pooled = [float(before["RAS", number, ""]["mean"]) * int(before["RAS", number, ""]["n_voxels"]) for number in "12"]
    n_voxels = sum(int(before["RAS", number, ""]["n_voxels"]) for number in "12")
    again = table(out / "statistics.csv")["RAS", "1", ""]
    assert int(again["n_voxels"]) == n_voxels
    assert float(again["mean"]) == pytest.approx(sum(pooled) / n_voxels)
