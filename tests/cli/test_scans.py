"""Which scans a command takes, and what it says of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import build_parser, main
from medseg.cli.scans import scans_of
from medseg.config import Config
from medseg.errors import ConfigError
from medseg.io.discovery import find_scans
from medseg.io.mask_files import mask_candidates
from medseg.io.scan import Scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).normal(100, 20, (12, 12, 12)).astype(np.float32)
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[3:9, 3:9, 3:9] = 1
    for name, voxels in {"M\udcfcller/t1": noise, "b": noise, "b_mask": labels, "labelsTr/c": labels}.items():
        path = tmp_path / f"in/{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return tmp_path / "in"


def taken(folder: Path, *words: str) -> list[Scan]:
    return scans_of(build_parser().parse_args(["train", str(folder), "--model", "m", *words]), Config())


def test_label_maps_are_left_out_and_counted(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert [scan.id for scan in taken(folder)] == ["M_xFCller/t1", "b"]
    assert "2 files are label maps or masks, left out" in capfd.readouterr().err


def test_patterns(folder: Path) -> None:
    assert [scan.id for scan in taken(folder, "--exclude", "M*")] == ["b"]
    assert [scan.id for scan in taken(folder, "--include", "b*", "--exclude", "b.nii.gz")] == ["b_mask"]
    with pytest.raises(ConfigError, match="that --include and --exclude take"):
        taken(folder, "--include", "no*")


def test_inspect_says_what_everything_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "M_xFCller/t1": "ok", "b": "ok", "b_mask": "label_map", "labelsTr/c": "label_map",
    }  # fmt: skip
    assert Path(rows["M_xFCller/t1"]["path"]).is_file()
    assert main(["inspect", str(folder)]) == 0
    assert "4 scans found: 2 ok, 0 refused, 2 label maps" in capsys.readouterr().out


def test_what_is_not_here_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "gone.nii.gz").symlink_to("../.git/annex/objects/gone.nii.gz")
    assert main(["inspect", str(folder)]) == 1
    assert "missing_content" in capsys.readouterr().out


def test_inspect_on_a_terminal_without_unicode(folder: Path) -> None:
    (folder / "b.nii.gz").rename(folder / "脳.nii.gz")
    (folder / "M\udcfcller/damaged\udce9.nii").write_text("no image")
    words = [sys.executable, "-m", "medseg", "inspect", str(folder)]
    found = subprocess.run(words, capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii", "COLUMNS": "200"})
    assert found.returncode == 1
    assert b"M_xFCller/damaged_xE9" in found.stdout
    assert b"Error" not in found.stderr


def test_masks_are_found_by_the_name_on_the_disk(folder: Path, tmp_path: Path) -> None:
    (scan, *_) = find_scans(folder)
    mask = tmp_path / "masks/M\udcfcller/t1.nii.gz"
    mask.parent.mkdir(parents=True)
    mask.touch()
    assert mask_candidates(tmp_path / "masks", scan) == [mask]


def test_results_do_not_go_among_the_scans(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(folder), "--out", str(folder), "--config", "smoke", "--dry-run"]) == 2
    assert "scans lie in" in capsys.readouterr().err
