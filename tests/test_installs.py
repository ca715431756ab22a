"""medseg runs however it is installed: editable, from inside a clone, and as a wheel or a source archive far from one.

Each environment is new; the libraries that medseg needs are those of this one, for PyTorch alone is 800 MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.checkout import copy_checkout
from tests.support.cohorts import write_cohort

pytestmark = pytest.mark.slow
BROKEN = "raise ImportError('this is the clone, not the medseg that was installed')\n"
WORDS = ("--config", "smoke", "--set", "training.max_steps=4", "--workers", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("scans") / "in", 2)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "clone")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Folder of the programs of a new virtual environment that sees this one's libraries, but no medseg."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    home = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (home / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert run(tmp_path / "venv" / "bin", tmp_path, "python", "-c", "import medseg.errors").returncode
    return tmp_path / "venv" / "bin"


def run(programs: Path, where: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(programs / str(words[0])), *map(str, words[1:])]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, env=variables)


def install(programs: Path, where: Path, *what: object) -> None:
    words = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    done = run(programs, where, "python", "-m", "pip", "install", *words, *what)
    assert done.returncode == 0, done.stderr


def check_it_runs(programs: Path, where: Path, scans: Path, out: Path) -> None:
    done = run(programs, where, "medseg", "run", scans, "--out", out, *WORDS)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("*_seg.nii.gz"))) == 2
    assert "brain_t1" in run(programs, where, "medseg", "configs").stdout


def test_editable(clone, environment, scans, tmp_path):
    install(environment, clone, "--editable", ".")
    check_it_runs(environment, tmp_path, scans, tmp_path / "out")
    assert "medseg 0.1.0" in run(environment, clone, "python", "-m", "medseg", "--version").stdout


def test_installed_and_run_inside_the_clone(clone, environment, scans, tmp_path):
    install(environment, clone, ".")
    for module in ("errors.py", "batch/worker.py", "config.py"):
        (clone / "medseg" / module).write_text(BROKEN)
    check_it_runs(environment, clone, scans, tmp_path / "out")


@pytest.mark.parametrize("ending", ["*.whl", "*.tar.gz"])
def test_wheel_and_sdist_elsewhere(clone, environment, scans, tmp_path, ending):
    done = run(environment, clone, "python", "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", ".")
    assert done.returncode == 0, done.stderr
    built = sorted((tmp_path / "dist").iterdir())
    assert [path.name.removeprefix("medseg-0.1.0") for path in built] == ["-py3-none-any.whl", ".tar.gz"]
    judged = run(environment, tmp_path, "python", "-m", "twine", "check", "--strict", *built)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    shutil.rmtree(clone)
    (chosen,) = (tmp_path / "dist").glob(ending)
    install(environment, tmp_path, chosen)
    check_it_runs(environment, tmp_path, scans, tmp_path / "out")
    assert run(environment, tmp_path, "medseg-bids", "--help").returncode == 0
