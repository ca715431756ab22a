"""The images: the Dockerfile is linted, and its steps are done as far as they go without an image.

No image is built: that takes a registry with a base image. The commands of ``RUN`` run in a new environment instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.checkout import copy_checkout
from tests.support.paths import ROOT
from tests.support.scans import write_nifti

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
APPTAINER = (ROOT / "medseg.def").read_text("utf-8")


def test_the_dockerfile_has_no_complaints():
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).parent / "hadolint")
    if not Path(hadolint).is_file():
        pytest.skip("hadolint is not installed; make dev installs it")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_with_labels_and_a_health_check():
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", last, re.MULTILINE)
    assert 'HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["medseg", "doctor", "/tmp"]' in last
    assert 'ENTRYPOINT ["medseg"]' in last
    for label in ("title", "description", "version", "licenses", "authors"):
        assert f'org.opencontainers.image.{label}="' in last
    assert "LGPL-3.0-or-later" in last


def test_both_definitions_install_the_same():
    installs = [re.findall(r"pip install --no-cache-dir (.+?)(?: \\)?$", text, re.MULTILINE)
                for text in (DOCKERFILE, APPTAINER)]  # fmt: skip
    plain = [[re.sub(r"\$\{(\w+)\}|\{\{ (\w+) \}\}", r"\1\2", words) for words in lines] for lines in installs]
    assert plain[0] == plain[1]
    assert len(plain[0]) == 3


def test_the_makefile_and_the_images_take_the_same_pytorch():
    (chosen,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert f'ARG TORCH="{chosen}"' in DOCKERFILE
    assert f"TORCH={chosen}\n" in APPTAINER


def test_nothing_private_goes_into_an_image():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv*", "demo", "out"} <= set(ignored)


def steps(folder: Path) -> list[str]:
    """The commands of ``RUN`` for another folder, without PyTorch and what else this environment has."""
    run = DOCKERFILE.split("\nRUN python -m venv", 1)[1].split("\n\n", 1)[0].replace("\\\n", " ")
    commands = [part.strip().replace("/opt/medseg", str(folder)) for part in f"python -m venv{run}".split("&&")]
    medseg = [part.replace("${EXTRAS}", "brain").replace("--no-cache-dir", "--no-deps --no-build-isolation --quiet")
              for part in commands if "constraints.txt" in part]  # fmt: skip
    assert len(commands) == 4
    assert len(medseg) == 1
    return [commands[0].replace("python", sys.executable, 1), *medseg]


def run(words: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    settings = {
        "HOME": str(home),
        "MPLCONFIGDIR": str(home),
        "TMPDIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }
    return subprocess.run(words, cwd=home, capture_output=True, text=True, check=False, env={**variables, **settings})


@pytest.mark.slow
def test_the_steps_of_the_image_make_programs_that_write_nowhere_else(tmp_path):
    """As in the image: a temporary folder for a home, and an installation that nothing is written into."""
    folder, home = tmp_path / "opt", tmp_path / "tmp"
    home.mkdir()
    source = copy_checkout(tmp_path / "source")
    first, *rest = steps(folder)
    subprocess.run(first, shell=True, check=True, cwd=source)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for step in rest:
        subprocess.run(step, shell=True, check=True, cwd=source)
    shutil.rmtree(source)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    health = re.findall(r'HEALTHCHECK .*CMD \["medseg", "doctor", "/tmp"\]', DOCKERFILE)
    assert len(health) == 1
    done = run([str(folder / "bin/medseg"), "doctor", str(home)], home)
    assert done.returncode == 0, done.stdout
    for number in (1, 2):
        image = phantom(small_grid(28), noise=8.0, seed=number)[0]
        write_nifti(image, tmp_path / f"bids/sub-0{number}/anat/sub-0{number}_T1w.nii.gz")
    (tmp_path / "bids/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    words = [
        "participant",
        "group",
        "--config",
        "smoke",
        "--set",
        "training.max_steps=4",
        "--device",
        "cpu",
        "--nthreads",
        "1",
    ]
    done = run([str(folder / "bin/medseg-bids"), str(tmp_path / "bids"), str(tmp_path / "out"), *words], home)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("*_dseg.nii.gz"))) == 2
    assert (tmp_path / "out/group_volumes.tsv").is_file()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
