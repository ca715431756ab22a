"""Images whose content is not here: dead links of DataLad and git-annex, and what a BIDS table lists."""

from __future__ import annotations

from pathlib import Path

from medseg import find_scans
from medseg.io.scan import Scan


def only(folder: Path) -> Scan:
    (scan,) = find_scans(folder)
    return scan


def test_links_to_what_is_not_here(tmp_path: Path) -> None:
    annex = Path("../.git/annex/objects/x/MD5E-s1--0.nii.gz")
    for name in ("sub-1_T1w.nii.gz", "a.nrrd", "s/IM1.dcm", "s/IM2.dcm", "s/IM3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(annex)
    (tmp_path / "README.md").symlink_to(annex)
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    (tmp_path / "t").mkdir()
    (tmp_path / "t/IM1.dcm").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:11\nsize 99\n")
    scans = find_scans(tmp_path)
    assert {scan.verdict for scan in scans} == {"missing_content"}
    assert [scan.id.split("-")[0] for scan in scans] == ["a", "loop", "missing", "missing", "sub"]
    assert sorted(len(scan.paths) for scan in scans) == [1, 1, 1, 1, 3]
    assert "datalad get" in scans[-1].reason
    assert [scan.verdict for scan in find_scans(tmp_path / "a.nrrd")] == ["missing_content"]


def test_images_that_a_bids_table_lists(tmp_path: Path) -> None:
    (tmp_path / "sub-1/anat").mkdir(parents=True)
    table = "filename\tacq_time\nanat/sub-1_T1w.nii.gz\tn/a\n../../x.nii\tn/a\nanat/sub-1_T1w.json\tn/a\n"
    (tmp_path / "sub-1/sub-1_scans.tsv").write_text(table)
    assert (only(tmp_path).id, only(tmp_path).verdict) == ("sub-1/anat/sub-1_T1w", "missing_content")
