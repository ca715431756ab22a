"""`--brain-mask`: masks are made once, kept beside the labels, found again, corrected by hand, told in the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg import Model, load_config, read_labels
from medseg.cli.main import main
from medseg.model.record import read_record
from sample_data.dicom_series import write_dicom_series
from sample_data.heads import head, head_grid
from tests.support.cohorts import manifest, medseg
from tests.support.fake_tools import ANY_HEAD, FAILS_THEN_CRASHES, FakeTool
from tests.support.scans import load_nifti, write_nifti

GRID = head_grid(4.0)
TINY = ("training.max_steps=4", "training.patch_size=16", "preprocessing.skull_stripped=true",
        "clustering.method=cohort", "clustering.bias_sigma_mm=null")  # fmt: skip
SETTINGS = [word for change in TINY for word in ("--set", change)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One head as NIfTI, one as DICOM."""
    found = tmp_path_factory.mktemp("heads")
    write_nifti(head(GRID)[0], found / "in/a.nii.gz")
    write_dicom_series(head(GRID, seed=2)[0], found / "in/study", modality="MR", series_number=4)
    return Path(found)


@pytest.fixture
def tool(tmp_path, monkeypatch) -> FakeTool:
    return FakeTool(tmp_path / "bin", "mri_synthstrip", ANY_HEAD, monkeypatch)


@pytest.fixture(scope="module")
def first(folder) -> Path:
    """The output folder of a run on both."""
    with pytest.MonkeyPatch.context() as patch:
        FakeTool(folder / "bin", "mri_synthstrip", ANY_HEAD, patch)
        words = ["run", folder / "in", "--out", folder / "out", "--config", "smoke", "--brain-mask", "mri_synthstrip"]
        assert main([*map(str, words), *SETTINGS, "--workers", "0"]) == 0
    return Path(folder) / "out"


@pytest.fixture
def out(first, tmp_path) -> Path:
    """A copy of it that may be changed, with times as they were."""
    return Path(shutil.copytree(first, tmp_path / "out"))


def ids(out: Path) -> list[str]:
    return sorted(manifest(out))


def mask_in(out: Path, scan: str) -> np.ndarray:
    return np.asarray(load_nifti(out / f"{scan}_brainmask.nii.gz").dataobj)


def run(folder: Path, out: Path, *words: object) -> int:
    command = ["run", folder / "in", "--out", out, "--config", "smoke", "--workers", "0", *words]
    return main([*map(str, command), *SETTINGS])


def segment(folder: Path, out: Path, *words: object) -> int:
    command = ["segment", folder / "in", "--out", out, "--model", folder / "out/model", "--workers", "0",
               "--write", "nifti", *words]  # fmt: skip
    return main(list(map(str, command)))


def test_the_masks_are_outputs_and_labels_lie_inside(folder, first):
    assert [name[:3] for name in ids(first)] == ["a", "mr4"]
    for name in ids(first):
        labels, geometry = read_labels(first / f"{name}_seg.nii.gz")
        mask, grid = read_labels(first / f"{name}_brainmask.nii.gz")
        assert grid.is_close(geometry)
        assert mask.dtype == np.uint8
        assert np.array_equal(labels > 0, mask > 0)
        record = read_record(first, name)
        assert record is not None
        assert record.mask.by == "mri_synthstrip"
        assert record.mask.volume_ml == pytest.approx(mask.sum() * geometry.voxel_volume_mm3 / 1000)
        assert {f"{name}_brainmask.nii.gz", f"report/brain_masks/{name}.png"} < set(record.outputs)
    truth = head(GRID)[1]
    assert (mask_in(first, "a") != truth).mean() < 0.01
    assert Model.load(first / "model").config.preprocessing.brain_mask == "mri_synthstrip"


def test_each_is_made_once_for_training_and_segmenting(folder, first):
    assert len((folder / "bin/mri_synthstrip.log").read_text().splitlines()) == 2


def test_they_are_told_in_the_report(first):
    page = (first / "report.html").read_text()
    section = page.split('<section id="brain-masks">')[1].split("</section>")[0]
    assert "2 masks: 2 by mri_synthstrip." in section
    assert section.count('class="thumb"') == 2
    assert 'href="report/brain_masks/a.png"' in section


def test_a_second_run_finds_everything_done(folder, out, tool):
    assert run(folder, out, "--brain-mask", "mri_synthstrip") == 0
    assert tool.calls == []


def test_a_model_segments_in_the_way_that_it_was_fitted(folder, first, tmp_path, tool):
    assert segment(folder, tmp_path / "more") == 0
    assert len(tool.calls) == 2
    for name in ids(first):
        assert (tmp_path / f"more/{name}_brainmask.nii.gz").read_bytes() == (
            first / f"{name}_brainmask.nii.gz"
        ).read_bytes()
        assert (tmp_path / f"more/{name}_seg.nii.gz").read_bytes() == (first / f"{name}_seg.nii.gz").read_bytes()


def correct(out: Path, scan: str) -> np.ndarray:
    """Cut a piece off a mask, as a person does in a viewer."""
    path = out / f"{scan}_brainmask.nii.gz"
    image = load_nifti(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[:, :, : voxels.shape[2] // 2] = 0
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path)
    return voxels > 0


def test_a_mask_corrected_in_its_place_is_believed_and_stays(folder, out, tool, capsys):
    inside = correct(out, "a")
    assert run(folder, out, "--brain-mask", "mri_synthstrip") == 0
    assert np.array_equal(read_labels(out / "a_seg.nii.gz")[0] > 0, inside)
    assert np.array_equal(mask_in(out, "a") > 0, inside)
    record, other = (read_record(out, name) for name in ids(out))
    assert record is not None
    assert other is not None
    assert (record.mask.by, other.mask.by) == ("by hand", "mri_synthstrip")
    assert "brain masks: 1 by hand, 1 by mri_synthstrip" in capsys.readouterr().err
    assert "1 corrected by hand" in (out / "report.html").read_text()
    assert tool.calls == []
    assert run(folder, out, "--brain-mask", "mri_synthstrip") == 0
    assert np.array_equal(mask_in(out, "a") > 0, inside)


def test_a_corrected_mask_that_does_not_fit_is_not_written_over(folder, out, tool):
    path = out / "a_brainmask.nii.gz"
    nib.save(nib.Nifti1Image(mask_in(out, "a")[1:], GRID.affine), path)
    before = path.read_bytes()
    assert run(folder, out, "--brain-mask", "mri_synthstrip") == 1
    assert manifest(out)["a"]["reason"].startswith("mask_mismatch: ")
    assert path.read_bytes() == before


def test_given_masks_win_and_who_has_none_gets_one(folder, out, tmp_path, tool):
    inside = correct(out, "a")
    (tmp_path / "mine").mkdir()
    shutil.copy(out / "a_brainmask.nii.gz", tmp_path / "mine/a_brainmask.nii.gz")
    assert segment(folder, tmp_path / "more", "--masks", tmp_path / "mine") == 0
    assert len(tool.calls) == 1
    assert np.array_equal(read_labels(tmp_path / "more/a_seg.nii.gz")[0] > 0, inside)
    assert not (tmp_path / "more/a_brainmask.nii.gz").exists()
    record = read_record(tmp_path / "more", "a")
    assert record is not None
    assert (record.mask.by, record.mask.digest) == ("given", "")
    assert segment(folder, tmp_path / "other", "--masks", tmp_path / "mine", "--brain-mask", "none") == 1
    assert {row["reason"].split(":")[0] for row in manifest(tmp_path / "other").values()} == {"", "no_mask"}


def test_the_folder_of_results_can_be_given_as_masks(folder, out, tmp_path, tool):
    inside = correct(out, "a")
    assert segment(folder, tmp_path / "more", "--masks", out) == 0
    assert np.array_equal(read_labels(tmp_path / "more/a_seg.nii.gz")[0] > 0, inside)
    assert tool.calls == []


def test_another_scan_under_the_same_name_gets_another_mask(folder, out, tmp_path, tool):
    shutil.copytree(folder / "in", tmp_path / "in")
    write_nifti(head(GRID, seed=9)[0], tmp_path / "in/a.nii.gz")
    words = ["segment", tmp_path / "in", "--out", out, "--model", folder / "out/model", "--workers", "0"]
    assert main(list(map(str, words))) == 0
    assert len(tool.calls) == 1


def test_a_lost_mask_is_made_again(folder, out, tool):
    (out / "a_brainmask.nii.gz").unlink()
    assert run(folder, out, "--brain-mask", "mri_synthstrip") == 0
    assert len(tool.calls) == 1


def test_a_whole_head_without_a_mask_is_refused(folder, first, tmp_path, capsys):
    assert segment(folder, tmp_path / "more", "--brain-mask", "none") == 1
    said = capsys.readouterr().err
    assert "the model was fitted inside brain masks of mri_synthstrip, and now none are made" in said
    for row in manifest(tmp_path / "more").values():
        assert row["reason"].startswith("not_skull_stripped: the scan looks like a whole head: found fat and a skull")
    assert run(folder, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.count("left out of training: the scan looks like a whole head") == 2
    assert "medseg: none of the scans can be used for training" in said


def test_a_program_that_fails_or_crashes_costs_the_scan(folder, first, tmp_path, monkeypatch):
    FakeTool(tmp_path / "bin", "mri_synthstrip", FAILS_THEN_CRASHES, monkeypatch)
    done = medseg("segment", folder / "in", "--out", tmp_path / "more", "--model", first / "model", "--workers", "1")
    assert done.returncode == 1
    rows = manifest(tmp_path / "more")
    assert [row["status"] for row in rows.values()] == ["refused"] * 2
    reasons = sorted(row["reason"] for row in rows.values())
    for reason, words in zip(reasons, ("exit code 139", "exit code 7"), strict=True):
        assert reason.startswith(f"brain_mask_failed: mri_synthstrip ended with {words}")
    written = [path for path in (tmp_path / "more").rglob("*") if path.is_file()]
    assert not [path for path in written if b"Jane_Doe" in path.read_bytes()]
    assert "Jane_Doe" not in done.stdout + done.stderr


def test_workers_make_masks_too(folder, first, tmp_path, tool):
    done = medseg("segment", folder / "in", "--out", tmp_path / "more", "--model", first / "model", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "brain masks: 2 by mri_synthstrip; look at them in the report" in done.stderr
    for name in ids(first):
        assert np.array_equal(mask_in(tmp_path / "more", name), mask_in(first, name))


def test_training_without_an_output_folder_leaves_no_masks(folder, tmp_path, tool):
    words = [
        "train",
        folder / "in",
        "--model",
        tmp_path / "m/model",
        "--config",
        "smoke",
        "--brain-mask",
        "mri_synthstrip",
    ]
    assert main([*map(str, words), *SETTINGS]) == 0
    assert len(tool.calls) == 2
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["model"]


def test_in_a_bids_dataset_it_is_named_as_by_fmriprep(folder, first, tmp_path, tool):
    raw, out = tmp_path / "bids", tmp_path / "out"
    write_nifti(head(GRID)[0], raw / "sub-01/anat/sub-01_T1w.nii.gz")
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.1"}))
    words = ["segment", raw, "--out", out, "--model", first / "model", "--workers", "0"]
    assert main(list(map(str, words))) == 0
    path = out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert np.array_equal(read_labels(path)[0], mask_in(first, "a"))
    facts = json.loads(path.with_name("sub-01_desc-brain_mask.json").read_text())
    assert (facts["Type"], facts["Manual"], facts["Description"]) == ("Brain", False, "Brain mask: mri_synthstrip")
    assert facts["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert main(list(map(str, words))) == 0
    assert len(tool.calls) == 1


def test_python_makes_them_as_the_config_says(tool, monkeypatch):
    config = load_config("smoke", [*TINY, "preprocessing.brain_mask=mri_synthstrip"])
    image, _ = head(GRID)
    model = Model.fit([image], config, device="cpu")
    assert len(tool.calls) == 2, "read twice"
    labels = model.segment(image).labels
    assert len(tool.calls) == 3
    given = torch.from_numpy(np.asarray(labels > 0)[None]).float()
    assert model.segment(image, type(image)(given, affine=image.affine)).labels.any()
    assert len(tool.calls) == 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("body_ct", "found a config or model for CT, expected one for MR of heads"),
        ("habitats", "lie inside given regions"),
    ],
)
def test_where_it_makes_no_sense_it_is_refused(folder, tmp_path, tool, capsys, config, words):
    command = ["run", folder / "in", "--out", tmp_path / "out", "--config", config, "--brain-mask", "mri_synthstrip"]
    assert main(list(map(str, command))) == 2
    assert words in capsys.readouterr().err
    assert tool.calls == []


def test_a_tool_that_is_not_here_is_one_sentence(folder, first, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert segment(folder, tmp_path / "more") == 2
    assert "--brain-mask mri_synthstrip: found it not installed, expected it on PATH" in capsys.readouterr().err
    assert segment(folder, tmp_path / "more", "--masks", first) == 0, "given masks need no tool"
