"""Scans, segmentations and models show themselves in Jupyter: what its display formatter gets of them."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image

from medseg import find_scans
from medseg.io.scan import Scan
from medseg.labels.table import LabelTable
from medseg.model.segmentation import Segmentation
from medseg.report.notebook import register
from medseg.spatial.geometry import Geometry
from medseg.spatial.planes import SIDE, middle_planes
from sample_data.phantom import phantom
from sample_data.report_folder import small_grid
from tests.support.scans import GRIDS, write_nifti

TABLE = LabelTable.default(2).replace(1, name="left", color=(255, 0, 0)).replace(2, name="top", color=(0, 255, 0))


def shown(thing):
    """What Jupyter gets: mime type -> data."""
    formatters = pytest.importorskip("IPython.core.formatters")
    formatter = formatters.DisplayFormatter()
    register(formatter)
    data, _ = formatter.format(thing)
    return data


def test_importing_medseg_in_a_notebook_is_enough():
    pytest.importorskip("IPython")
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        'shell.run_cell(\'import medseg, pathlib; scan = medseg.Scan("a", (pathlib.Path("a.nii"),), "nifti", '
        'verdict="sheared", reason="found a shear")\')\n'
        "print(shell.display_formatter.format(shell.user_ns['scan'])[0]['text/html'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sheared: found a shear" in done.stdout


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def embedded(html):
    (code,) = re.findall(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)">', html)
    return base64.b64decode(code)


def two_blocks(geometry):
    """A bright cube around the origin; label 1 in its left half (patient's left), label 2 above 30 mm of the rest."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    world = geometry.to_world(index)
    inside = (np.abs(world) < 50).all(axis=1)
    labels = np.where(inside & (world[:, 0] < 0), 1, np.where(inside & (world[:, 2] > 30), 2, 0)).astype(np.uint8)
    image = torch.from_numpy(inside.reshape(1, *geometry.shape).astype(np.float32))
    return MetaTensor(image, affine=torch.from_numpy(geometry.affine.copy())), labels.reshape(geometry.shape)


@pytest.mark.parametrize("name", GRIDS)
def test_labels_lie_over_their_image_as_radiologists_look_at_it(name):
    """Columns of the first plane run from the patient's right to his left, rows of the others from the top."""
    image, labels = two_blocks(GRIDS[name])
    data = shown(Segmentation(labels, GRIDS[name], TABLE, planes=middle_planes(image)))
    found = pixels(data["image/png"])
    assert embedded(data["text/html"]) == data["image/png"]
    assert max(found.shape[1] / 3, found.shape[0] / 2) <= SIDE + 2
    grey, colored = np.split(found, 2, axis=0)
    assert (grey.max(axis=-1) - grey.min(axis=-1) == 0).all()
    red = (colored[..., 0] > 100) & (colored[..., 1] < 150) & (colored[..., 2] < 150)
    green = (colored[..., 1] > 100) & (colored[..., 0] < 150)
    axial, coronal, _ = np.array_split(np.arange(found.shape[1]), 3)
    for plane in (axial, coronal):
        rows, columns = np.nonzero(red[:, plane])
        bright = np.nonzero(grey[:, plane, 0] > 100)
        assert abs(columns.mean() - np.quantile(bright[1], 0.75)) < 0.1 * np.ptp(bright[1]), "left on the right"
        assert abs(rows.mean() - bright[0].mean()) < 0.1 * np.ptp(bright[0])
    rows, columns = np.nonzero(green[:, coronal])
    bright = np.nonzero(grey[:, coronal, 0] > 100)
    assert rows.mean() < np.quantile(bright[0], 0.25), "top at the top"
    assert columns.mean() < bright[1].mean()


def test_labels_alone_without_an_image():
    _, labels = two_blocks(GRIDS["RAS"])
    wide = labels.astype(np.uint16) * 300
    table = LabelTable(labels=(TABLE[1].model_copy(update={"number": 300}),))
    data = shown(Segmentation(wide, GRIDS["RAS"], table))
    found = pixels(data["image/png"])
    is_mark = found.min(axis=-1) > 0
    colors = {tuple(color) for color in np.unique(found[~is_mark], axis=0) if color.max() == 255}
    assert colors == {(255, 0, 0)}
    assert is_mark.mean() < 0.05
    assert data["text/plain"] == f"Segmentation(1 labels, {GRIDS['RAS']})"
    assert "left</td>" in data["text/html"]


def test_a_scan_shows_its_middle(tmp_path):
    write_nifti(phantom(small_grid(32), noise=5.0, seed=0)[0], tmp_path / "a.nii.gz")
    (scan,) = find_scans(tmp_path)
    data = shown(scan)
    found = pixels(data["image/png"])
    assert found.shape == (SIDE, 3 * (SIDE + 2), 3)
    assert found.std() > 20
    assert embedded(data["text/html"]) == data["image/png"]
    assert "32 x 32 x 32 voxels" in data["text/html"]


def test_a_scan_that_cannot_be_read_says_why(tmp_path):
    image, _ = phantom(small_grid(24), seed=0)
    broken = MetaTensor(image.as_tensor().clone().fill_(float("nan")), affine=image.affine)
    write_nifti(broken, tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_text("nothing")
    unreadable, refused = find_scans(tmp_path)
    assert unreadable.is_ok
    for scan, said in ((unreadable, "cannot be read: a: "), (refused, "corrupt_file: b.nii: not a readable NIfTI")):
        data = shown(scan)
        assert "image/png" not in data
        assert "<img" not in data["text/html"]
        assert f"</b> {said}" in data["text/html"]


def test_a_model_and_its_result_show_themselves(model):
    result = model.segment(phantom(small_grid(28), noise=5.0)[0])
    grey, colored = np.split(pixels(shown(result)["image/png"]), 2, axis=0)
    assert grey.std() > 20
    assert not np.array_equal(grey, colored)
    named = model.relabelled(model.table.replace(2, name="grey matter"), {3: 1})
    text = shown(named)["text/plain"]
    assert text == named.describe()
    lines = text.splitlines()
    assert lines[0].startswith("2 labels for MR, found without labels in 2 scans (")
    assert lines[1] == "merged: 3 into 1"
    assert " ".join(lines[2].split()) == "label name mean intensity (of 0 to 1) volume in a scan"
    assert lines[4].split()[:3] == ["2", "grey", "matter"]
    assert lines[4].endswith(" ml")
    assert len({line.index(word) for line, word in zip(lines[3:5], ("label 1", "grey"), strict=True)}) == 1
    cut = model.cut_to(2)
    assert "the hierarchy is cut to 2 labels" in cut.describe()


def test_planes_of_many_voxels_are_thinned():
    geometry = Geometry((500, 4, 30), np.diag([0.5, 1.0, 1.0, 1.0]))
    planes = middle_planes(MetaTensor(torch.rand(1, 500, 4, 30), affine=torch.from_numpy(geometry.affine.copy())))
    assert [plane.axis for plane in planes] == [2, 1, 0]
    greys = [plane.grey for plane in planes if plane.grey is not None]
    assert [grey.shape for grey in greys] == [(192, 4), (192, 30), (4, 30)]


def test_everything_from_outside_is_escaped():
    grid = Geometry((4, 4, 4), np.diag([10.0, 10.0, 10.0, 1.0]))
    named = LabelTable.default(2).replace(1, name="<b>")
    text = shown(Segmentation(np.ones((4, 4, 4), np.uint8), grid, named))["text/html"]
    assert "&lt;b&gt;" in text
    assert "64.0 ml" in text
    assert "4 x 4 x 4 voxels of 10 x 10 x 10 mm, RAS" in text
    refused = shown(Scan("a/<x>", (Path("x.nii"),), "nifti", verdict="sheared", reason="found <shear>"))["text/html"]
    assert "a/&lt;x&gt;" in refused
    assert "sheared: found &lt;shear&gt;" in refused
