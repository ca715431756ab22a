"""Results of another model, or of another state of a scan, do not stay beside new ones."""

from __future__ import annotations

import shutil

import pytest

from medseg import Model
from medseg.batch.outdated import remove_outdated
from medseg.cli.main import main
from medseg.model.record import JobFacts, Record, read_records


@pytest.fixture
def folder(tmp_path, cohort, quick_model):
    """Two scans, a model, and the same model under other names of its labels, which counts as another."""
    (tmp_path / "scans").mkdir()
    for source, name in zip(sorted(cohort.glob("*")), ("a", "b"), strict=False):
        shutil.copyfile(source, tmp_path / "scans" / f"{name}.nii.gz")
    shutil.copytree(quick_model, tmp_path / "one")
    model = Model.load(tmp_path / "one", device="cpu")
    model.relabelled(model.table.replace(1, name="other"), {}).save(tmp_path / "two")
    return tmp_path


def segment(folder, model, write):
    words = ["segment", folder / "scans", "--model", folder / model, "--out", folder / "out", "--write", write]
    return main([*map(str, words), "--workers", "0", "--device", "cpu"])


def test_what_another_model_made_goes_with_it(folder, capsys):
    assert segment(folder, "one", "nifti,confidence") == 0
    assert segment(folder, "one", "seg.nrrd") == 0  # the same model: what it made stays
    assert (folder / "out" / "a_confidence.nii.gz").is_file()
    assert segment(folder, "two", "nifti") == 0
    assert (folder / "out" / "a_seg.nii.gz").is_file()
    assert not (folder / "out" / "a.seg.nrrd").exists()
    assert not (folder / "out" / "a_confidence.nii.gz").exists()
    assert "a: removed " in capsys.readouterr().err


def test_a_scan_that_became_unreadable_keeps_no_labels(folder):
    assert segment(folder, "one", "nifti") == 0
    (folder / "scans" / "a.nii.gz").write_bytes(b"damaged")
    assert segment(folder, "one", "nifti") == 1
    assert not (folder / "out" / "a_seg.nii.gz").exists()
    assert (folder / "out" / "b_seg.nii.gz").is_file()


def test_results_of_another_model_for_other_scans_are_not_mixed_in(folder, capsys):
    assert segment(folder, "one", "nifti") == 0
    (folder / "scans" / "a.nii.gz").unlink()
    assert segment(folder, "two", "nifti") == 2
    assert "found results of another model for other scans than these (1, such as a)" in capsys.readouterr().err
    assert len({record.job.model for record in read_records(folder / "out") if record.job}) == 1


def test_only_what_is_untrue_goes(tmp_path):
    (tmp_path / "a_seg.nii.gz").touch()
    before = Record(
        "a", "done", job=JobFacts("m"), content="c", stamp="s", outputs={"a_seg.nii.gz": 0, "../outside": 1}
    )
    again = Record("a", "done", job=JobFacts("m"), content="c")
    assert remove_outdated(tmp_path, None, again, "m", "t") == 0
    assert remove_outdated(tmp_path, before, again, "m", "t") == 0
    assert remove_outdated(tmp_path, before, Record("a", "failed"), "m", "t") == 0
    # The same files: what is asked for now cannot be had of them, what was made of them is still true.
    assert remove_outdated(tmp_path, before, Record("a", "refused"), "m", "s") == 0
    assert (tmp_path / "a_seg.nii.gz").exists()
    assert remove_outdated(tmp_path, before, Record("a", "refused"), "m", "") == 1
    assert not (tmp_path / "a_seg.nii.gz").exists()
