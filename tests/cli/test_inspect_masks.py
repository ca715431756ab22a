"""`--masks`: told beforehand by `inspect`; a folder that is not there is one sentence at once."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import main


def save(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.set_qform(np.eye(4), 1)
    nib.save(image, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise, mask = np.random.default_rng(0).normal(100, 20, (9, 9, 9)).astype(np.float32), np.zeros((9, 9, 9), np.uint8)
    mask[3:6, 3:6, 3:6] = 1
    for name in ("a", "b", "c", "sub-1/anat/sub-1_T1w"):
        save(tmp_path / f"in/{name}.nii.gz", noise)
    save(tmp_path / "masks/a.nii.gz", noise * mask)
    save(tmp_path / "masks/a_bet.nii.gz", mask)
    save(tmp_path / "masks/b.nii.gz", noise * mask)
    save(tmp_path / "masks/sub-1/anat/sub-1_desc-brain_mask.nii.gz", mask)
    (tmp_path / "in/bad.nii.gz").write_bytes(b"no image" * 99)
    return tmp_path


def inspect(folder: Path, *words: str) -> int:
    return main(["inspect", str(folder / "in"), "--masks", str(folder / "masks"), *words])


def test_for_programs(folder, capsys):
    assert inspect(folder, "--json") == 1
    found = {scan["id"]: scan for scan in json.loads(capsys.readouterr().out)}
    told = {name: (scan["mask"], scan["mask_verdict"]) for name, scan in found.items()}
    assert told == {
        "a": ("a_bet.nii.gz", "ok"),
        "b": ("", "not_a_mask"),
        "bad": ("", ""),
        "c": ("", "no_mask"),
        "sub-1/anat/sub-1_T1w": ("sub-1/anat/sub-1_desc-brain_mask.nii.gz", "ok"),
    }
    assert "c_synthstrip_mask" in found["c"]["mask_reason"]
    assert "mask" not in json.loads(_plain(folder, capsys))[0]


def _plain(folder, capsys):
    main(["inspect", str(folder / "in"), "--json"])
    return capsys.readouterr().out


def test_for_people(folder, capsys):
    assert inspect(folder) == 1
    text = capsys.readouterr().out
    assert "a_bet.nii.gz" in text
    assert "not_a_mask" in text
    assert "2 of 4 have a mask" in text
    (folder / "in/bad.nii.gz").unlink()
    for name in ("b", "c"):
        (folder / f"in/{name}.nii.gz").unlink()
    assert inspect(folder) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "{}/in"),
        ("run", "{}/in", "--out", "{}/out"),
        ("train", "{}/in", "--model", "{}/m"),
        ("segment", "{}/in", "--model", "{}/no_model", "--out", "{}/out"),
    ],
)
def test_a_missing_folder_is_one_sentence_at_once(folder, capsys, words):
    words = [word.format(folder) for word in words]
    assert main([*words, "--masks", str(folder / "maskz")]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"medseg: --masks {folder}/maskz: found no folder, expected one with masks; check the path"
    assert not (folder / "out").exists()
