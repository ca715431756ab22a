"""Slices kept as data survive their file, and a label alone shows its own colour."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from medseg.model.segmentation import Segmentation
from medseg.report.mosaic import write_pictures
from medseg.report.slices import cut_slices, read_slices
from medseg.report.thumbnails import label_alone
from sample_data.phantom import grids, phantom


def test_slices_survive_their_file(tmp_path, mosaic, slices, table):
    image, truth = phantom(grids()["RAS"], noise=8.0, seed=0)
    result = Segmentation(np.asarray(truth), grids()["RAS"], table)
    fresh = cut_slices(image, result)
    assert fresh.grid.is_close(slices.grid)
    for name in ("axes", "places", "grey", "labels", "confidence"):
        assert np.array_equal(getattr(fresh, name), getattr(slices, name)), name
    assert set(np.unique(slices.labels)) == {0, 1, 2, 3}
    assert slices.labels.dtype == np.uint8
    wide = Segmentation(np.asarray(truth).astype(np.uint16) * 300, result.geometry, table)
    paths = tmp_path / "a.npz", tmp_path / "a.png"
    write_pictures(image, wide, *paths, title="")
    found = read_slices(paths[0])
    assert found is not None
    assert np.array_equal(found.labels, slices.labels.astype(np.uint16) * 300)


def test_a_label_alone_shows_its_color_and_no_other(slices, table):
    for label in table:
        uri = label_alone(slices, label)
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(float)
        hues = pixels - pixels.mean(axis=-1, keepdims=True)
        own = np.array(label.color) - np.mean(label.color)
        colored = np.linalg.norm(hues, axis=-1) > 0.5 * np.linalg.norm(own)
        assert colored.sum() > 50
        cosine = hues[colored] @ own / (np.linalg.norm(hues[colored], axis=-1) * np.linalg.norm(own))
        assert np.mean(cosine > 0.9) > 0.9
    assert label_alone(slices, table[1].model_copy(update={"number": 4})) == ""
