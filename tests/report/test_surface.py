"""Labels in three dimensions: the right colours at the right sides, and what cannot be drawn is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medseg.errors import ConfigError
from medseg.labels.table import LabelTable
from medseg.report.surface import draw_surfaces
from medseg.spatial.geometry import Geometry
from tests.support.scans import GRIDS

TABLE = LabelTable.default(2).replace(1, color=(255, 0, 0)).replace(2, color=(0, 0, 255))


def two_balls(geometry: Geometry):
    """Label 1 in a ball at the patient's right, label 2 in one at the left."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    world = geometry.to_world(index)
    world -= world.mean(axis=0)
    labels = [np.linalg.norm(world - (side * 35, 0, 0), axis=1) < 25 for side in (1, -1)]
    return (labels[0] + 2 * labels[1]).reshape(geometry.shape).astype(np.uint8)


@pytest.mark.parametrize("name", GRIDS)
def test_the_right_side_is_on_the_left_of_a_picture_from_the_front(tmp_path, name):
    pytest.importorskip("vtkmodules", reason="the extra `figure3d` (VTK) is not installed")
    path = tmp_path / "a.png"
    draw_surfaces(two_balls(GRIDS[name]), GRIDS[name], list(TABLE), path, side=200, background="white")
    pixels = np.asarray(Image.open(path)).astype(int)
    assert pixels.shape == (200, 200, 3)
    red = (pixels[..., 0] > pixels[..., 2] + 60).nonzero()[1]
    blue = (pixels[..., 2] > pixels[..., 0] + 60).nonzero()[1]
    assert min(red.size, blue.size) > 500
    assert red.mean() < blue.mean() - 30
    assert (pixels[0] == 255).all()


def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch):
    labels, grid = two_balls(GRIDS["RAS"]), GRIDS["RAS"]
    with pytest.raises(ConfigError, match=r"a\.svg: found the suffix \.svg, expected \.png; rename it"):
        draw_surfaces(labels, grid, list(TABLE), tmp_path / "a.svg", side=50, background="white")
    monkeypatch.setattr("medseg.report.surface.find_spec", lambda _name: object())
    with pytest.raises(ConfigError, match="found none of the labels in the scan, expected at least one"):
        draw_surfaces(0 * labels, grid, list(TABLE), tmp_path / "a.png", side=50, background="white")
    monkeypatch.setattr("medseg.report.surface.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r'by VTK, which is not installed; run pip install "medseg\[figure3d\]"'):
        draw_surfaces(labels, grid, list(TABLE), tmp_path / "a.png", side=50, background="white")
    assert not list(tmp_path.iterdir())
