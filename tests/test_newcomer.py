"""The first steps of the README, from `git clone` to a named segment in a real 3D Slicer, and nothing else.

The commands are the README's own lines, in their order, as one shell session in an empty folder with an empty HOME;
only the address of the repository is that of this checkout. Run with ``MEDSEG_SLICER_PYTHON`` naming a Python that
has the package ``slicer-core``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from tests.support.paths import ROOT


class Segment(TypedDict):
    """What Slicer says of one segment."""

    ml: float
    color: list[int]


READ = """
import json, sys
import slicer
from vtk.util.numpy_support import vtk_to_numpy

scene = slicer.vtkMRMLScene()
logic = slicer.vtkSlicerSegmentationsModuleLogic()
logic.SetMRMLScene(scene)
found = logic.LoadSegmentationFromFile(sys.argv[1], True).GetSegmentation()
segments = {}
for n in range(found.GetNumberOfSegments()):
    segment = found.GetNthSegment(n)
    image = segment.GetRepresentation("Binary labelmap")
    voxels = (vtk_to_numpy(image.GetPointData().GetScalars()) == segment.GetLabelValue()).sum()
    a, b, c = image.GetSpacing()
    color = [round(255 * part) for part in segment.GetColor()]
    segments[segment.GetName()] = {"ml": float(voxels) * a * b * c / 1000, "color": color}
print("SEGMENTS", json.dumps(segments))
"""


def first_steps(readme: str) -> list[str]:
    """The lines of the code blocks of the section on clones."""
    blocks = re.findall(r"```\n(.*?)```", from_a_clone(readme), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def from_a_clone(readme: str) -> str:
    return readme.split("\n## From a clone\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]


def newcomers_environment(home: Path) -> dict[str, str]:
    """Nothing of the Python that runs the tests, nothing of the user's own settings."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    inside = Path(sys.prefix)
    paths = [path for path in os.environ["PATH"].split(os.pathsep) if not Path(path).is_relative_to(inside)]
    return {**environment, "HOME": str(home), "PATH": os.pathsep.join(paths)}


def segments_in_slicer(python: str, path: Path) -> dict[str, Segment]:
    done = subprocess.run([python, "-c", READ, str(path)], capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("SEGMENTS ")]
    assert lines, done.stderr[-2000:]
    found: dict[str, Segment] = json.loads(lines[0].removeprefix("SEGMENTS "))
    return found


@pytest.mark.slow
def test_from_git_clone_to_a_named_segment_in_slicer(tmp_path):
    slicer = os.environ.get("MEDSEG_SLICER_PYTHON")
    if not slicer:
        pytest.skip("no 3D Slicer: MEDSEG_SLICER_PYTHON names no Python that has it")
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout that could be cloned")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    readme = subprocess.run(["git", "show", "HEAD:README.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in first_steps(readme.stdout) if line.strip() and not line.startswith("make test")]
    assert lines[0].startswith("git clone "), "the first command of the README"
    assert any(line.startswith("make demo") for line in lines)
    (naming,) = [line for line in lines if "--name" in line]
    name = re.findall(r'--name \d+="([^"]+)"', naming)[0]
    lines[0] = re.sub(r"^git clone \S+", f"git clone {ROOT.as_uri()}", lines[0])
    home, folder = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    folder.mkdir()
    script = "\n".join(["PS4='+ ${SECONDS} s: '", "set -ex", *lines, "git rev-parse HEAD", "pwd"])
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(["bash", "-c", script], cwd=folder, env=newcomers_environment(home), stdout=log,
                              stderr=subprocess.STDOUT, timeout=3600, check=False)  # fmt: skip
    said = (tmp_path / "log").read_text()
    print(said)
    assert done.returncode == 0, said[-3000:]
    # Not what lay in the checkout, but what is committed.
    assert head.strip() in said
    clone = Path(said.strip().splitlines()[-1])
    (result,) = re.findall(r"`(demo/\S+\.seg\.nrrd)`", from_a_clone(readme.stdout))
    segments = segments_in_slicer(slicer, clone / result)
    assert name == "white matter"
    assert 300 < segments[name]["ml"] < 900, segments
    assert segments[name]["color"] == [230, 230, 230]
