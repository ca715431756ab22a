"""``.mrb`` scene bundles and the description of the module, as 3D Slicer takes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import InputError, read_labels, read_scan, write_mrb
from medseg.cli.main import main
from medseg.spatial.geometry import Geometry
from tests.support.paths import ROOT, SUPPORT
from tests.support.slicer_labels import GRIDS, SHAPE, TABLE
from tests.support.slicer_labels import phantom as labels_of


def scan(name: str, *, fraction: float = 0.0) -> MetaTensor:
    voxels = torch.arange(float(np.prod(SHAPE))).reshape(1, *SHAPE) - 300 + fraction
    return MetaTensor(voxels, affine=torch.from_numpy(GRIDS[name].affine.copy()))


@pytest.mark.parametrize("name", ["oblique", "PIR"])
def test_real_slicer_opens_the_scene(tmp_path, name):
    python = Path(os.environ.get("MEDSEG_SLICER_PYTHON", ROOT / ".venv-slicer" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no 3D Slicer: {python} does not exist, MEDSEG_SLICER_PYTHON can name another")
    path = tmp_path / "Großer <scan> & 1.mrb"
    write_mrb(scan(name), labels_of(), TABLE, path)
    command = [str(python), str(SUPPORT / "slicer_scene.py"), str(path), str(tmp_path / "scene")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["loaded"]
    geometry = GRIDS[name]
    (volume,) = seen["volumes"]
    assert (volume["name"], tuple(volume["shape"]), volume["shown"]) == ("Großer <scan> & 1", SHAPE, True)
    assert Geometry(SHAPE, np.asarray(volume["affine_ras"])).is_close(geometry, 1e-3)
    assert volume["range"] == [-300, np.prod(SHAPE) - 301]
    (segmentation,) = seen["segmentations"]
    assert (segmentation["reference"], segmentation["shown"]) == (volume["name"], True)
    segments = segmentation["segments"]
    assert [s["name"] for s in segments] == [label.name for label in TABLE]
    assert [tuple(s["color"]) for s in segments] == [label.color for label in TABLE]
    assert [s["voxels"] for s in segments] == [(labels_of() == label.number).sum() for label in TABLE]
    assert segments[0]["terminology"] == ["SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney"]
    assert segments[1]["terminology"] == ["SCT^85756007^Tissue", "SCT^85756007^Tissue"]
    for segment in segments:
        assert Geometry(SHAPE, np.asarray(segment["affine_ras"])).is_close(geometry, 1e-3)
    assert {view: found["background"] for view, found in seen["views"].items()} == dict.fromkeys(
        ("Red", "Green", "Yellow"), volume["name"]
    )
    assert [seen["views"][view]["orientation"] for view in ("Red", "Green", "Yellow")] == [
        "Axial", "Coronal", "Sagittal",
    ]  # fmt: skip
    assert_views_fit(seen["views"], geometry)
    assert seen["active"]


def assert_views_fit(views, geometry):
    centre = geometry.to_world([(np.asarray(SHAPE) - 1) / 2])[0]
    for found in views.values():
        pose = np.asarray(found["pose"])
        assert np.allclose(pose[:3, 3], centre, atol=1e-3)
        assert np.isclose(abs(np.linalg.det(pose[:3, :3])), 1)
        assert min(found["size"][:2]) > 6.3


def test_the_bundle_holds_scan_and_segments(tmp_path):
    write_mrb(scan("oblique"), labels_of(), TABLE, tmp_path / "a b.mrb")
    write_mrb(scan("oblique"), labels_of(), TABLE, tmp_path / "c" / "a b.mrb")
    assert (tmp_path / "a b.mrb").read_bytes() == (tmp_path / "c" / "a b.mrb").read_bytes()
    with zipfile.ZipFile(tmp_path / "a b.mrb") as archive:
        archive.extractall(tmp_path)
    image = sitk.ReadImage(str(tmp_path / "a_b" / "Data" / "scan.nrrd"))
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), scan("oblique")[0].numpy())
    root = ET.parse(tmp_path / "a_b" / "a_b.mrml").getroot()
    files = {node.attrib["fileName"] for node in root if "fileName" in node.attrib}
    assert files == {"Data/scan.nrrd", "Data/segmentation.seg.nrrd"}
    assert all((tmp_path / "a_b" / file).is_file() for file in files)
    identifiers = [node.attrib["id"] for node in root]
    for node in root:
        for reference in filter(None, node.attrib.get("references", "").split(";")):
            assert reference.split(":")[1] in [*identifiers, "vtkMRMLColorTableNodeGrey"]


def test_fractions_stay(tmp_path):
    write_mrb(scan("RAS", fraction=0.25), labels_of(), TABLE, tmp_path / "a.mrb")
    with zipfile.ZipFile(tmp_path / "a.mrb") as archive:
        archive.extractall(tmp_path)
    image = sitk.ReadImage(str(tmp_path / "a" / "Data" / "scan.nrrd"))
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(image).transpose(2, 1, 0), scan("RAS", fraction=0.25)[0].numpy()
    )


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"expected \.mrb"):
        write_mrb(scan("RAS"), labels_of(), TABLE, tmp_path / "a.zip")
    with pytest.raises(ValueError, match=r"lacks the labels \[300\]"):
        write_mrb(scan("RAS"), labels_of(), TABLE.without([300]), tmp_path / "a.mrb")
    sheared = scan("RAS")
    sheared.affine[1, 2] = 1.6
    with pytest.raises(InputError, match="sheared"):
        write_mrb(sheared, labels_of(), TABLE, tmp_path / "a.mrb")
    assert not list(tmp_path.iterdir())


def words_for(parameters: list[ET.Element], values: dict[str, str]) -> list[str]:
    """The command line that Slicer makes of a module's parameters: flags first, then what has an index."""
    words, positions = [], {}
    for item in parameters:
        value, flag, index = values[item.findtext("name", "")], item.findtext("longflag"), item.findtext("index")
        if flag is not None:
            words += [flag, value]
        if index is not None:
            positions[int(index)] = value
    return [*words, *(positions[index] for index in sorted(positions))]


def test_the_module_as_slicer_calls_it(tmp_path, quick_model, cohort):
    """The description's flags and positions, through the script of docs/slicer.md."""
    described = subprocess.run([sys.executable, "-m", "medseg", "--xml"], capture_output=True, check=True)
    root = ET.fromstring(described.stdout)
    assert described.stderr == b""
    assert (root.tag, root.findtext("title")) == ("executable", "medseg")
    (group,) = root.findall("parameters")
    assert group.findtext("description")
    values = {"model": str(quick_model), "device": "cpu", "scan": str(cohort / "good000.nii.gz"),
              "labels": str(tmp_path / "out.nii.gz")}  # fmt: skip
    parameters = [item for item in group if item.find("name") is not None]
    assert {item.findtext("name") for item in parameters} == set(values)
    words = words_for(parameters, values)
    text = (ROOT / "docs" / "slicer.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    program = tmp_path / "medseg"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medseg "$@"\n')
    program.chmod(0o755)
    module = tmp_path / "medseg_module.py"
    module.write_text(script.replace("/path/to/venv/bin/medseg", str(program)))
    done = subprocess.run([sys.executable, str(module), *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    shares = [float(share) for share in re.findall(r"<filter-progress>(.*?)</filter-progress>", done.stdout)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    labels, geometry = read_labels(tmp_path / "out.nii.gz")
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert geometry.is_close(Geometry.of(read_scan(values["scan"])), 1e-3)
    assert main(["slicer", values["scan"], "x.nrrd", "--model", values["model"]]) == 2
