from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import time

import numpy as np
import pytest

from medseg import Model, find_scans, read_labels, read_scan
from medseg.batch import outputs
from medseg.cli.main import build_parser, main
from medseg.cli.segment_and_report import quotable
from medseg.io.label_volumes import write_labels
from medseg.io.seg_nrrd import write_seg_nrrd
from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.scans import GRIDS, write_nifti


def manifest(out):
    with (out / "manifest.csv").open() as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A good NIfTI in a subfolder, a good DICOM series, a broken NIfTI."""
    folder = tmp_path_factory.mktemp("in")
    write_nifti(phantom(GRIDS["LPS"], noise=8.0, seed=3)[0], folder / "a" / "b.nii.gz")
    write_dicom_series(phantom(GRIDS["RAS"], noise=8.0, seed=4)[0], folder / "series", modality="MR")
    (folder / "broken.nii.gz").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def segmented(scans, quick_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "results"
    code = main(["segment", str(scans), "--model", str(quick_model), "--out", str(out), "--device", "cpu"])
    return out, code


def test_one_broken_scan_costs_its_own_row_only(segmented):
    out, code = segmented
    rows = manifest(out)
    assert code == 1
    assert {name: row["status"] for name, row in rows.items()} == {
        "a/b": "done", "broken": "refused", dicom_id(rows): "done",
    }  # fmt: skip
    assert rows["broken"]["reason"].startswith("corrupt_file: broken.nii.gz: not a readable NIfTI file")


def dicom_id(rows):
    return next(name for name in rows if name.startswith("mr1-"))


def test_outputs_lie_on_the_scan_and_are_complete(segmented, scans):
    out, _ = segmented
    for scan in find_scans(scans):
        if not scan.is_ok:
            assert not (out / f"{scan.id}_seg.nii.gz").exists()
            continue
        labels, geometry = read_labels(out / f"{scan.id}_seg.nii.gz")
        assert geometry.is_close(Geometry.of(read_scan(scan)), 1e-4)
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        assert (out / f"{scan.id}.seg.nrrd").is_file()
        assert (out / "report" / f"{scan.id}.png").is_file()
    assert {p.name for p in out.iterdir()} >= {"manifest.csv", "run.json", "labels.ctbl", "report.html"}
    left = [p for p in out.rglob("*") if p.name.startswith(".") and p.name != ".medseg"]
    assert left == []


def test_the_manifest_counts_volumes_in_mm3(segmented):
    out, _ = segmented
    row = manifest(out)["a/b"]
    labels, geometry = read_labels(out / "a/b_seg.nii.gz")
    for number in (1, 2, 3):
        expected = (labels == number).sum() * geometry.voxel_volume_mm3
        assert float(row[f"{number} label {number} mm3"]) == pytest.approx(expected, abs=0.06)
    assert float(row["seconds"]) > 0
    assert float(row["peak_memory_mb"]) > 50


def test_run_json_says_what_made_it_and_nothing_private(segmented, scans, quick_model):
    out, _ = segmented
    facts, model = json.loads((out / "run.json").read_text()), Model.load(quick_model)
    assert facts["model"] == model.fingerprint
    assert facts["seed"] == model.config.training.seed
    assert set(facts["packages"]) >= {"torch", "monai", "numpy"}
    for file in [p for p in out.rglob("*") if p.is_file()]:
        content = file.read_bytes()
        assert str(scans).encode() not in content
        assert b"Phantom^" not in content


def test_done_scans_are_skipped_and_changed_ones_are_not(segmented, scans, quick_model):
    out, _ = segmented
    first = (out / "a/b_seg.nii.gz").stat().st_mtime_ns
    arguments = ["segment", str(scans), "--model", str(quick_model), "--out", str(out), "--device", "cpu",
                 "--workers", "0"]  # fmt: skip
    main(arguments)
    assert (out / "a/b_seg.nii.gz").stat().st_mtime_ns == first
    os.utime(scans / "a" / "b.nii.gz", ns=(1, time.time_ns()))
    main(arguments)
    assert (out / "a/b_seg.nii.gz").stat().st_mtime_ns == first
    write_nifti(phantom(GRIDS["LPS"], noise=8.0, seed=5)[0], scans / "a" / "b.nii.gz")
    main(arguments)
    assert (out / "a/b_seg.nii.gz").stat().st_mtime_ns > first


def test_label_renames_and_merges_without_segmenting_again(segmented, quick_model, tmp_path, monkeypatch):
    out = shutil.copytree(segmented[0], tmp_path / "out")
    folder = shutil.copytree(quick_model, tmp_path / "model")
    before, geometry = read_labels(out / "a/b_seg.nii.gz")
    monkeypatch.setattr(Model, "segment", None)
    code = main(["label", str(folder), "--out", str(out), "--name", "1=fluid", "--name", '3="white matter"',
                 "--color", "3=230,231,232", "--code", "3=389080008:White matter", "--merge", "1,2"])  # fmt: skip
    assert code == 0
    table = Model.load(folder).table
    assert [(label.number, label.name) for label in table] == [(1, "fluid"), (3, "white matter")]
    assert table[3].code is not None
    assert (table[3].color, table[3].code.value) == ((230, 231, 232), "389080008")
    after, moved = read_labels(out / "a/b_seg.nii.gz")
    assert np.array_equal(after, np.where(before == 2, 1, before))
    assert moved.is_close(geometry)
    assert b"Segment1_Name:=white matter" in (out / "a/b.seg.nrrd").read_bytes()[:4000]
    assert "white_matter 230 231 232" in (out / "labels.ctbl").read_text().replace("white matter", "white_matter")
    assert "3 white matter mm3" in manifest(out)["a/b"]
    monkeypatch.undo()
    records = [json.loads(path.read_text()) for path in (out / ".medseg").glob("*.json")]
    done = [record for record in records if record["status"] == "done"]
    assert len(done) == 2
    for record in done:
        assert Model.load(folder).fingerprint in record["job"]["model"]
        assert record["job"]["outputs"] == ["nifti", "seg.nrrd"]
        assert set(record["volumes_mm3"]) == {"1", "3"}
    (refused,) = [record for record in records if record["status"] == "refused"]
    assert (refused["code"], refused["job"]) == ("corrupt_file", None)


def test_the_command_that_is_kept_names_no_path():
    words = ["run", "/home/Jane_Doe/a", "--out", "/data/Jane_Doe", "--masks", "/data/Jane_Doe", "--model", "/Jane_Doe"]
    args = build_parser().parse_args([*words, "--config", "/home/Jane_Doe/own.yaml", "--set", "training.seed=3"])
    kept = quotable(args)
    assert not any("Jane_Doe" in word for word in kept)
    assert kept[:4] == ["medseg", "run", "--config", "FILE"]
    assert kept[-2:] == ["--set", "training.seed=3"]
    assert quotable(build_parser().parse_args([*words, "--config", "smoke"]))[3] == "smoke"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "three=x"], "--name three=x: expected NUMBER=VALUE"),
        (["--name", "9=x"], "label 9 does not exist"),
        (["--color", "1=300,0,0"], "three numbers from 0 to 255"),
        (["--merge", "1"], "expected label numbers such as 4,5"),
        (["--code", "1=123"], "expected VALUE:MEANING"),
    ],
)
def test_wrong_label_words_are_explained(quick_model, words, message, capsys):
    assert main(["label", str(quick_model), *words]) == 2
    assert message in capsys.readouterr().err


def test_label_refuses_the_outputs_of_another_model(segmented, quick_model, tmp_path, capsys):
    other = shutil.copytree(quick_model, tmp_path / "other")
    model = Model.load(quick_model)
    model.relabelled(model.table, {3: 2}).save(other)
    assert main(["label", str(other), "--out", str(segmented[0]), "--name", "1=x"]) == 2
    assert "was made by another model" in capsys.readouterr().err


def test_masks_restrict_and_a_missing_mask_costs_its_scan(scans, quick_model, tmp_path):
    labels = np.zeros(GRIDS["LPS"].shape, np.uint8)
    labels[20:60, 25:75, 20:60] = 1
    write_labels(labels, GRIDS["LPS"], tmp_path / "masks" / "a" / "b.nii.gz")
    out = tmp_path / "out"
    code = main(["segment", str(scans), "--model", str(quick_model), "--out", str(out),
                 "--workers", "0", "--masks", str(tmp_path / "masks")])  # fmt: skip
    rows = manifest(out)
    assert code == 1
    assert rows[dicom_id(rows)]["reason"].startswith("no_mask: ")
    found, _ = read_labels(out / "a/b_seg.nii.gz")
    assert np.array_equal(found > 0, labels > 0)


def test_a_full_disk_fails_the_scan_and_leaves_no_half_file(scans, quick_model, tmp_path, monkeypatch):
    out, real = tmp_path / "out", write_seg_nrrd

    def full(labels, geometry, table, path):
        if path.name.startswith("mr1-"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(labels, geometry, table, path)

    monkeypatch.setattr("medseg.batch.formats.write_seg_nrrd", full)
    assert main(["segment", str(scans), "--model", str(quick_model), "--out", str(out), "--workers", "0"]) == 1
    rows = manifest(out)
    assert rows[dicom_id(rows)]["status"] == "failed"
    assert "No space left on device" in rows[dicom_id(rows)]["reason"]
    assert rows["a/b"]["status"] == "done"
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused_before_work(scans, quick_model, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    code = main(["segment", str(scans), "--model", str(quick_model), "--out", str(tmp_path / "locked" / "x")])
    assert code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_output_folder_that_is_a_file_is_refused(scans, quick_model, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["segment", str(scans), "--model", str(quick_model), "--out", str(tmp_path / "taken")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "{empty}", "--out", "{out}"], "found no DICOM series and no NIfTI file"),
        (["run", "{missing}", "--out", "{out}"], "missing"),
        (["run", "{scans}", "--out", "{out}", "--config", "nonsense"], "take one of body_ct, brain_t1"),
        (["run", "{scans}", "--out", "{out}", "--set", "clustering.n_cluster=3"], "n_cluster: unknown key"),
        (["run", "{scans}", "--out", "{out}", "--set", "clustering.n_clusters=99"], "less than or equal to 32"),
        (["run", "{scans}", "--out", "{out}", "--write", "jpeg"], "expected some of nifti, seg.nrrd"),
        (["segment", "{scans}", "--out", "{out}", "--model", "{empty}"], "found no model.json"),
        (["report", "{empty}"], "found no .medseg with records"),
        (["evaluate", "{empty}", "{empty}", "--out", "{out}/m.csv"], "holds no NIfTI file"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_sentence(words, message, scans, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "missing": tmp_path / "missing", "out": tmp_path / "out", "scans": scans}
    assert main([word.format(**places) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_inspect_prints_what_read_scan_reads(scans, capsys):
    assert main(["inspect", str(scans), "--json"]) == 1
    objects = json.loads(capsys.readouterr().out)
    assert [item["verdict"] for item in objects] == ["ok", "corrupt_file", "ok"]
    for item in objects:
        if item["verdict"] != "ok":
            assert "not a readable NIfTI file" in item["reason"]
            continue
        for source in (item["path"], scans / item["id"]):
            geometry = Geometry.of(read_scan(source))
            assert list(geometry.shape) == item["shape"]
            assert np.allclose(geometry.affine, item["affine"], atol=1e-4)
            assert np.allclose(geometry.spacing_mm, item["spacing_mm"], atol=1e-4)
    main(["inspect", str(scans)])
    text = capsys.readouterr().out
    assert "3 scans found: 2 ok, 1 refused" in text
    assert "corrupt_file" in text


def test_run_trains_segments_and_goes_on_where_it_stood(cohort, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = ["run", str(cohort), "--out", str(out), "--config", "smoke", "--device", "cpu",
             "--set", "training.max_steps=4", "--set", "clustering.method=cohort",
             "--set", "clustering.bias_sigma_mm=null"]  # fmt: skip
    assert main(words) == 0
    assert {row["status"] for row in manifest(out).values()} == {"done"}
    assert not list(out.glob(".model*"))
    monkeypatch.setattr("medseg.cli.train.fit_model", None)
    monkeypatch.setattr(Model, "segment", None)
    assert main(words) == 0


def test_evaluate_scores_the_phantoms(phantom_scans, model_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["segment", str(phantom_scans / "scans"), "--model", str(model_folder), "--out", str(out),
                 "--workers", "0"]) == 0  # fmt: skip
    assert main(["evaluate", str(out), str(phantom_scans / "truths"), "--out", str(tmp_path / "m.csv")]) == 0
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert min(float(row["dice"]) for row in rows) > 0.93
    assert "one mapping for all scans" in capsys.readouterr().out


def test_a_name_that_leads_outside_is_refused(tmp_path):
    from medseg import InputError

    with pytest.raises(InputError, match="outside the output folder"):
        outputs.output_path(tmp_path / "out", "../evil", "_seg.nii.gz")
