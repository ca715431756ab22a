"""What a command imports: nothing heavy where it is not needed, and of MONAI only what is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.cohorts import environment

HEAVY = ("torch", "monai", "skimage", "sklearn", "highdicom", "matplotlib")
ASK = """
import sys
from medseg.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("imported:", code, *(name for name in {heavy} if getattr(sys.modules.get(name), "__version__", "")
                           and (name != "monai" or "monai.data.meta_tensor" in sys.modules)))
"""


def imported(*words: object) -> tuple[str, list[str]]:
    """Exit code, and the heavy packages that a command has imported."""
    done = subprocess.run([sys.executable, "-c", ASK.format(heavy=HEAVY), *map(str, words)], capture_output=True,
                          text=True, check=True, env=environment())  # fmt: skip
    _, code, *names = done.stdout.splitlines()[-1].split()
    return code, names


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], "0"),
        (["configs", "brain_t1"], "0"),
        (["run", "absent", "--out", "out", "--set", "nonsense=2"], "2"),
        (["train", "absent", "--model", "m", "--config", "nothing"], "2"),
        (["segment", "absent", "--model", "m", "--out", "out", "--write", "nonsense"], "2"),
    ],
)
def test_usage_needs_nothing_heavy(words, code):
    assert imported(*words) == (code, [])


@pytest.mark.parametrize("command", ["label", "describe"])
def test_a_model_is_shown_without_its_network(model_folder, command):
    assert imported(command, model_folder) == ("0", [])


def test_inspecting_needs_no_network(phantom_scans):
    assert imported("inspect", phantom_scans / "scans" / "RAS.nii.gz") == ("0", [])


def test_monai_comes_in_parts_and_is_whole_when_asked():
    code = """
import sys
from medseg.runtime.monai_parts import import_monai_late
import_monai_late()
from monai.data.meta_tensor import MetaTensor
from monai.transforms.io.array import LoadImage
import monai
parts = [monai.__version__, "monai.losses" in sys.modules, "monai.data.dataset" in sys.modules]
from monai.transforms import Compose, LoadImage as again
import monai.transforms as transforms
from monai.data import CacheDataset, image_writer
from monai.networks.nets import UNet
import monai.apps
assert again is LoadImage and Compose is transforms.Compose and image_writer.__name__ == "monai.data.image_writer"
assert monai.data.MetaTensor is MetaTensor and monai.apps.DecathlonDataset
assert monai.losses.DiceLoss
assert not hasattr(monai, "nothing_of_this_name")
print(*parts)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    version, *others = done.stdout.split()
    assert version[0].isdigit()
    assert others == ["False", "False"]
