"""Figures for papers: the slices that are asked for, in the scan's own voxels, marked truly, the same twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image

from medseg.cli.main import main
from medseg.errors import ConfigError
from medseg.io.label_volumes import write_labels
from medseg.labels.table import LabelTable
from medseg.model.outputs import Output
from medseg.model.record import JobFacts, Record, write_record
from medseg.report.figure import Look, cut_panels, draw_figure
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom
from tests.support.scans import GRIDS, write_nifti

TABLE = LabelTable.default(3).replace(2, name="grey & white", color=(0, 0, 255)).replace(3, color=(255, 0, 0))


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("name", GRIDS)
def test_panels_hold_the_scans_own_voxels_the_right_way_round(name):
    """The value of a voxel tells its place: each pixel of a panel is where the picture says."""
    geometry = GRIDS[name]
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    ras = geometry.in_ras_order()
    along = ras.to_index(geometry.to_world(index)).reshape(*geometry.shape, 3)
    labels = (along[..., 0].round() + 1).astype(np.uint8)  # 1 at the patient's right end
    image = MetaTensor(torch.rand(1, *geometry.shape), affine=torch.from_numpy(geometry.affine.copy()))
    (panel,) = cut_panels(image, labels, Look(plane="axial", n_slices=1))
    n_right = ras.shape[0]
    assert (panel.labels == n_right - np.arange(n_right)).all()  # RAS: the first column is the patient's right
    (panel,) = cut_panels(image, labels, Look(plane="sagittal", at_mm=(float(ras.to_world([[3, 0, 0]])[0][0]),)))
    middle = ras.to_world([[3, *(np.array(ras.shape[1:]) - 1) / 2]])[0][0]
    expected = 4 + round((float(ras.to_world([[3, 0, 0]])[0][0]) - middle) / ras.spacing_mm[0])
    assert abs(int(np.median(panel.labels)) - expected) <= 1


def test_slices_lie_where_they_were_asked_for():
    image, truth = phantom(GRIDS["RAS"], noise=5.0)
    asked = (-20.0, 0.0, 13.0)
    panels = cut_panels(image, np.asarray(truth), Look(plane="coronal", at_mm=asked))
    for panel, mm in zip(panels, asked, strict=True):
        sign = {"A": 1, "P": -1}[panel.place[0]]
        assert abs(sign * float(panel.place.split()[1]) - mm) <= GRIDS["RAS"].spacing_mm[1] / 2 + 0.5
    assert len(cut_panels(image, np.asarray(truth), Look(n_slices=7))) == 7
    with pytest.raises(ConfigError, match=r"--at 900: the scan reaches from .* to .* mm; choose within"):
        cut_panels(image, np.asarray(truth), Look(at_mm=(900.0,)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A figure of a phantom as PNG and as SVG, and how it looks."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("figure")
    image, truth = phantom(GRIDS["RAS"], noise=5.0)
    for name, look in (("a.png", Look(dpi=100, width_mm=127)), ("a.svg", Look(outlines=True, background="black"))):
        draw_figure(image, np.asarray(truth), TABLE, look, folder / name)
    return folder


def test_a_picture_has_the_size_and_the_colours_that_were_asked_for(drawn):
    found = pixels(drawn / "a.png")
    assert found.shape[1] == 500  # 5 inches
    top, bottom = np.array_split(found, 2, axis=0)
    for row, colored in ((top, False), (bottom, True)):
        red = (row[..., 0] > row[..., 1] + 60) & (row[..., 0] > row[..., 2] + 60)
        assert (red.sum() > 200) == colored
    assert (found[-3:] == 255).all()  # the margin below the legend


def test_vector_text_stays_text(drawn):
    text = (drawn / "a.svg").read_text("utf-8")
    for said in ("grey &amp; white", "label 1"):
        assert said in text
    assert "<dc:date>" not in text


def test_the_same_figure_twice_has_the_same_bytes(drawn, tmp_path):
    image, truth = phantom(GRIDS["RAS"], noise=5.0)
    draw_figure(image, np.asarray(truth), TABLE, Look(outlines=True, background="black"), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == (drawn / "a.svg").read_bytes()


def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch):
    image, truth = phantom(GRIDS["RAS"], noise=5.0)
    with pytest.raises(ConfigError, match=r"a.pdf: found the suffix .pdf, expected .png or .svg; rename it"):
        draw_figure(image, np.asarray(truth), TABLE, Look(), tmp_path / "a.pdf")
    monkeypatch.setattr("medseg.report.figure.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r'matplotlib, which is not installed; run pip install "medseg\[figure\]"'):
        draw_figure(image, np.asarray(truth), TABLE, Look(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_the_command_finds_scan_and_labels(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    image, truth = phantom(GRIDS["RAS"], noise=5.0)
    write_nifti(image, tmp_path / "scans" / "a.nii.gz")
    out = tmp_path / "out"
    record = Record("a", "done", volumes_mm3={1: 1.0, 2: 1.0, 3: 1.0}, job=JobFacts("m", (Output.NIFTI,)))
    write_record(out, record)
    words = ["figure", str(out), "--scans", str(tmp_path / "scans"), "--out", str(tmp_path / "f.png"), "--dpi", "60"]
    assert main([*words, "--scan", "b"]) == 2
    assert "--scan b: found no labels of it" in capsys.readouterr().err
    assert main([*words, "--scan", "a", "--exclude", "*.gz"]) == 2
    assert "found no DICOM series and no NIfTI file that --include and --exclude take" in capsys.readouterr().err
    assert main([*words, "--scan", "a"]) == 2
    assert "its label map is gone" in capsys.readouterr().err
    small = Geometry((4, 4, 4), np.eye(4))
    write_labels(np.ones((4, 4, 4), np.uint8), small, out / "a_seg.nii.gz")
    assert main([*words, "--scan", "a"]) == 2
    assert "it lies on another grid than its labels" in capsys.readouterr().err
    write_labels(np.asarray(truth), GRIDS["RAS"], out / "a_seg.nii.gz")
    assert main([*words, "--scan", "a", "--slices", "3", "--labels-only"]) == 0
    assert pixels(tmp_path / "f.png").shape[1] == 425  # 180 mm at 60 pixels an inch
    (tmp_path / "scans" / "a.nii.gz").rename(tmp_path / "scans" / "c.nii.gz")
    assert main([*words, "--scan", "a"]) == 2
    assert "found no scan a among 1" in capsys.readouterr().err
    assert main([*words, "--scan", "a", "--slices", "0"]) == 2
    assert "1 to 20 --slices" in capsys.readouterr().err
