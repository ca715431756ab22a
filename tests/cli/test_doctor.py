"""`medseg doctor`: what is here, what is missing, in a table and as JSON, even where nearly nothing is installed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from medseg.cli import doctor
from medseg.cli.doctor import EXTRAS, PACKAGES, PROGRAMS, Finding, examine
from medseg.cli.main import main
from medseg.io.dicom.rejections import codecs
from tests.support.paths import ROOT


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_everything_needed_is_here(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "everything that medseg needs is here"
    assert main(["doctor", str(tmp_path / "not" / "there"), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"torch", "memory", "cores", "output folder", "DICOM JPEG 2000", "hd-bet", "GPU"} <= {*rows, "GPU"}
    assert rows["output folder"]["found"].startswith("can be written, ")
    assert str(tmp_path) not in json.dumps(rows)
    assert not (tmp_path / "not").exists()


def test_the_needed_packages_are_those_of_the_project():
    """Of each dependency in pyproject.toml one line, and of each module that is named here one package."""
    text = (ROOT / "pyproject.toml").read_text()
    named = text.split("\ndependencies = [")[1].split("]")[0].split()
    wanted = {word.strip('",').split(">")[0].split("=")[0] for word in named}
    assert set(PACKAGES) == wanted
    assert all(find_spec(module) is not None for module in PACKAGES.values())


def test_what_is_missing_is_named(monkeypatch, tmp_path, capsys):
    gone = {"safetensors", "ipyniivue"}
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in gone else find_spec(name))
    monkeypatch.setattr("shutil.which", lambda name: "/somewhere" if name == "nipreps-synthstrip" else None)
    found = by_name(examine(tmp_path))
    assert found["safetensors"] == Finding("safetensors", "missing", "", "pip install safetensors")
    assert found["ipyniivue"].status == "absent"
    assert found["mri_synthstrip"] == Finding("mri_synthstrip", "ok", "nipreps-synthstrip", "brain masks")
    assert found["dcm2niix"].status == "absent"
    assert main(["doctor", str(tmp_path)]) == 1
    assert "missing: safetensors" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert by_name(examine(tmp_path / "locked"))["output folder"].is_missing


def test_a_full_or_forbidden_disk_is_noticed(tmp_path, monkeypatch):
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    found = by_name(examine(tmp_path))
    assert found["output folder"].is_missing
    assert found["output folder"].found == "cannot be written"


def test_little_memory_and_disk_are_warned_about(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "total_memory", lambda: 2 << 30)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=5 << 20))
    found = by_name(examine(tmp_path))
    assert (found["memory"].status, found["output folder"].status) == ("warning", "warning")
    assert found["output folder"].found == "can be written, 5.2 MB free"


def test_a_broken_pytorch_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _name: object())
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "medseg.io.dicom.rejections", None)
    found = by_name(examine(tmp_path))
    assert found["PyTorch"].is_missing
    assert found["PyTorch"].found == "installed, but cannot be imported (ModuleNotFoundError)"


def test_a_python_with_nothing_in_it_gets_an_answer(tmp_path):
    """Without site-packages not even rich is here: no traceback, and everything is named."""
    words = [sys.executable, "-S", "-m", "medseg", "doctor", str(tmp_path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1, done.stderr
    missing = {row["name"] for row in json.loads(done.stdout) if row["status"] == "missing"}
    assert missing == set(PACKAGES)


def test_codecs_are_judged_as_scans_are():
    known = codecs()
    assert known["uncompressed"]
    assert known["JPEG lossless"]  # SimpleITK decodes it
    assert known["JPEG-LS"]
    assert {"RLE", "JPEG 8 bit", "JPEG 12 bit", "JPEG 2000", "HTJ2K"} < set(known)


def test_tools_say_what_they_are_for():
    assert all(purpose and names for purpose, names in PROGRAMS.values())
    assert all(purpose and how.startswith("pip install") for _, purpose, how in EXTRAS.values())
