"""Where labels lie: right in every orientation, said in words that claim no more than the numbers."""

from __future__ import annotations

from html import unescape

import numpy as np
import pytest

from medseg.cli.main import main
from medseg.labels import location as places
from medseg.labels.location import NAMES, in_words, places_of
from medseg.report.location import NOTE, where_of
from medseg.spatial.geometry import Geometry
from sample_data.phantom import grids, phantom
from tests.support.cohorts import manifest, write_cohort


def ball(affine=None, shape=(40, 40, 40)):
    """Label 1: a ball; (labels, geometry, distance of each voxel from its centre in its radius, relative RAS place)."""
    geometry = Geometry(shape, np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine)
    world = geometry.to_world(np.argwhere(np.ones(shape))).reshape(*shape, 3)
    centre = geometry.to_world([[(n - 1) / 2 for n in shape]])[0]
    place = (world - centre) / 36.0
    distance = np.linalg.norm(place, axis=-1)
    return (distance <= 1).astype(np.uint8), geometry, distance, place


def said(labels, geometry):
    return {number: in_words([place]) for number, place in places_of(labels, geometry).items()}


def test_a_shell_is_near_the_surface_and_a_core_is_the_centre():
    labels, geometry, distance, _ = ball()
    labels[(distance < 0.85)] = 2
    labels[distance < 0.3] = 3
    words = said(labels, geometry)
    assert words[1].startswith("near the surface (")
    assert words[2].startswith("towards the inside (")
    assert words[3].startswith("centre, deep inside (")
    found = places_of(labels, geometry)
    assert found[1]["depth_mm"] == pytest.approx(0.075 * 36, abs=1.0)
    assert found[1]["depth_of_all_mm"] == pytest.approx(36 / 4, abs=1.0)
    assert found[3]["depth_mm"] == pytest.approx((1 - 0.75 * 0.3) * 36, abs=1.5)


AXES = {"RAS": np.eye(3), "LPS": np.diag([-1.0, -1.0, 1.0]), "PIR": np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize(
    ("towards", "word"),
    [((-1, 0, 0), "left third"), ((1, 0, 0), "right third"), ((0, -1, 0), "back third"), ((0, 1, 0), "front third"),
     ((0, 0, -1), "lower third"), ((0, 0, 1), "upper third")],
)  # fmt: skip
def test_a_lump_is_where_it_is_whatever_the_order_of_the_voxels(axes, towards, word):
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * AXES[axes]
    labels, geometry, _, place = ball(affine)
    lump = np.linalg.norm(place - 0.65 * np.asarray(towards), axis=-1) < 0.25
    labels[lump] = 2
    assert word in said(labels, geometry)[2].split(", ")
    assert said(labels, geometry)[1] == "throughout"


def test_halves_and_pairs_are_told_apart():
    labels, geometry, _, place = ball()
    labels[(labels > 0) & (place[..., 0] < -0.1)] = 2
    labels[(np.abs(place[..., 0]) > 0.55) & (labels > 0)] = 3
    labels[(labels > 0) & (place[..., 2] > 0.45)] = 4
    words = said(labels, geometry)
    assert words[2].split(", ")[0] == "left"
    assert "left and right" in words[3]
    assert words[4].split(", ")[0] == "upper third"


def test_a_cohort_is_told_by_its_mean():
    left = dict.fromkeys(NAMES, 0.26) | {"left": 0.9, "right": 0.0, "depth_mm": 5.0, "depth_of_all_mm": 5.0}
    right = left | {"left": 0.0, "right": 0.9}
    assert in_words([left]) == "left third"
    assert in_words([left, right]) == "left and right"
    assert in_words([]) == ""
    depths = [(0.4, "near the"), (0.7, "towards the surface"), (1.0, ""), (1.5, "towards the inside"), (2.0, "deep")]
    for deep, word in depths:
        assert in_words([left | {"depth_mm": 5 * deep}]).partition(", ")[2].startswith(word)
    assert in_words([left | {"depth_mm": 5.0}]) == "left third"


def test_a_large_or_thick_scan_is_sampled(monkeypatch):
    image, truth = phantom(grids()["thick"])
    whole = places_of(truth, grids()["thick"])
    monkeypatch.setattr(places, "SAMPLED_VOXELS", 20_000)
    some = places_of(truth, grids()["thick"])
    for number, place in whole.items():
        for name in NAMES[:6]:
            assert some[number][name] == pytest.approx(place[name], abs=0.04)
        assert some[number]["depth_mm"] == pytest.approx(place["depth_mm"], abs=2.5)
    assert image.shape[1:] == truth.shape


def test_nothing_lies_nowhere():
    assert places_of(np.zeros((4, 4, 4), np.uint8), Geometry((4, 4, 4), np.eye(4))) == {}
    one = np.zeros((4, 4, 4), np.uint8)
    one[1, 2, 3] = 5
    assert set(places_of(one, Geometry((4, 4, 4), np.eye(4)))) == {5}


@pytest.mark.parametrize("text", ["", "scan,label\na,1\n", "scan,label," + ",".join(NAMES) + "\na,1" + ",x" * 8 + "\n"])
def test_damaged_places_are_passed_over(tmp_path, text):
    assert where_of(tmp_path) == {}
    (tmp_path / "places.csv").write_text(text)
    assert where_of(tmp_path) == {}


def test_the_page_tells_where_and_merges_follow(model, tmp_path):
    scans, out, folder = write_cohort(tmp_path / "scans", 1), tmp_path / "out", tmp_path / "model"
    model.save(folder)
    words = ["--model", str(folder), "--out", str(out), "--device", "cpu", "--workers", "0", "--write", "nifti"]
    assert main(["segment", str(scans), *words]) == 0
    where = where_of(out)
    assert set(where) == {1, 2, 3}
    assert "towards the surface" in where[1]
    assert where[3].split(", ")[1] == "left"
    assert "deep inside" in where[3]
    text = unescape((out / "report.html").read_text("utf-8"))
    assert all(word in text for word in (*where.values(), NOTE, "where in the body"))
    assert main(["label", str(folder), "--merge", "1,3", "--out", str(out)]) == 0
    assert set(where_of(out)) == {1, 2}
    assert set(manifest(out)) == {"good000"}
    (out / "places.csv").unlink()
    assert main(["report", str(out)]) == 0
    assert "where in the body" not in (out / "report.html").read_text("utf-8")
