"""Confidence in pictures, viewer and page: the right colours at the right places, and how to get it where it is not."""

from __future__ import annotations

import base64
import json
import shutil
from html import unescape

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.cli.main import main
from medseg.io.compact import nifti_from_bytes
from medseg.labels.table import LabelTable
from medseg.model.segmentation import Segmentation
from medseg.report.confidence import HOW, LEGEND
from medseg.report.display import confidence_at, known_confidence
from medseg.report.mosaic import renew_pictures, write_pictures
from medseg.report.niivue import viewer
from medseg.report.render import DOUBT_OPACITY, SURE, UNSURE, confidence_colors, doubts
from medseg.report.slices import cut_slices, write_slices
from medseg.report.write import write_report
from medseg.spatial.geometry import Geometry
from sample_data.report_folder import make_out
from tests.support.cohorts import write_cohort
from tests.support.mosaics import tiles_in


def lightness(rgb):
    """CIE L* of (N, 3) sRGB colours 0-255."""
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_more_doubt_is_always_lighter_and_equal_steps_look_equal():
    colors = confidence_colors().astype(float)
    assert (colors[0] == 0).all()
    assert (colors[1:UNSURE] == colors[UNSURE]).all()
    found = lightness(colors[UNSURE : SURE + 1])
    assert (np.diff(found) < 0.1).all()
    steps = -np.diff(found[::17])
    assert steps.min() > 0.5 * steps.max()


def test_only_doubts_are_drawn():
    confidence = np.arange(256, dtype=np.uint8)
    shown = doubts(confidence)
    assert np.array_equal(shown[:SURE], confidence[:SURE])
    assert (shown[SURE:] == 0).all()
    assert pytest.approx(0.9, abs=0.002) == SURE / 255


def scan(shape=(20, 24, 16)):
    """Labels in a box, confidence .2 in its left half and 1 in its right half, known on every second voxel."""
    labels = np.zeros(shape, np.uint8)
    labels[4:16, 4:20, 3:13] = 2
    native = Geometry(shape, np.diag([2.0, 2.0, 3.0, 1.0]))
    values = np.where(labels > 0, 255, 0).astype(np.uint8)
    values[:10][labels[:10] > 0] = 51
    known = torch.from_numpy(values[None, ::2, ::2, ::2].copy())
    sure = MetaTensor(known, affine=torch.tensor(native.every(2).affine))
    image = MetaTensor(torch.rand(1, *shape), affine=torch.tensor(native.affine))
    return image, Segmentation(labels, native, LabelTable.default(2), coarse_confidence=sure)


def found_at(result, inside):
    known = known_confidence(result)
    assert known is not None
    return confidence_at(result.geometry, known, inside)


def test_voxels_without_label_do_not_make_their_neighbours_unsure():
    _, result = scan()
    inside = result.labels > 0
    found = found_at(result, inside)
    assert (found[~inside] == 0).all()
    assert set(np.unique(found[:8][inside[:8]])) == {51}
    assert set(np.unique(found[11:][inside[11:]])) <= {0, 255}
    assert (found[inside] == 0).mean() < 0.2  # where no coarse voxel is near: the outermost plane
    seventy = np.where(inside, 70, 0).astype(np.uint8)
    whole = Segmentation(result.labels, result.geometry, result.table, confidence=seventy)
    assert np.array_equal(found_at(whole, inside), seventy)
    unknown = Segmentation(whole.labels, whole.geometry, whole.table)
    assert known_confidence(unknown) is None


def test_the_mosaic_shows_the_confidence_beside_the_labels(tmp_path):
    image, result = scan()
    paths = tmp_path / "a.npz", tmp_path / "a.png"
    write_pictures(image, result, *paths, title="a")
    first = tiles_in(tmp_path / "a.png")
    assert first.shape[2] == 3
    sides = slice(82, 94), slice(78, 98)  # the middle of an axial slice, clear of marks
    plain, doubtful = first[0, 1, 0][sides].astype(float), first[0, 1, 2][sides].astype(float)
    mixed = (1 - DOUBT_OPACITY) * plain + DOUBT_OPACITY * confidence_colors()[51]
    is_doubt = np.abs(doubtful - mixed).max(axis=-1) < 2
    half = is_doubt.shape[1] // 2
    assert is_doubt[:, half + 3 :].mean() > 0.9  # the unsure half lies at the patient's left
    assert np.array_equal(doubtful[:, : half - 3], plain[:, : half - 3])
    unknown = Segmentation(result.labels, result.geometry, result.table)
    write_pictures(image, unknown, tmp_path / "b.npz", tmp_path / "b.png", title="a")
    assert np.array_equal(tiles_in(tmp_path / "b.png"), first[:, :, :2])
    other = Segmentation(result.labels, result.geometry, result.table.replace(2, color=(1, 2, 3)))
    assert renew_pictures(other, *paths, title="a")
    again = tiles_in(tmp_path / "a.png")
    assert np.array_equal(again[:, :, [0, 2]], first[:, :, [0, 2]])
    assert not np.array_equal(again[:, :, 1], first[:, :, 1])
    assert renew_pictures(other, *paths, title="a", same_labels=False)
    assert tiles_in(tmp_path / "a.png").shape[2] == 2


def test_the_page_says_what_the_colours_mean_or_how_to_get_them(tmp_path):
    out = make_out(tmp_path / "out", 3, side=24)
    text = unescape(write_report(out).read_text("utf-8"))
    assert LEGEND in text
    assert HOW not in text
    image, result = scan()
    plain = cut_slices(image, Segmentation(result.labels, result.geometry, result.table))
    write_slices(plain, out / "report" / "slices" / "scan001.npz")
    text = write_report(out).read_text("utf-8")
    assert f"1 of 3 pictures do not show confidence; this adds it: <code>{HOW}</code>" in text
    for name in ("scan000", "scan002"):
        (out / "report" / "slices" / f"{name}.npz").unlink()
    text = unescape(write_report(out).read_text("utf-8"))
    assert "No picture shows confidence" in text
    assert LEGEND not in text


@pytest.mark.skipif(viewer() is None, reason="the extra `report` (ipyniivue) is not installed")
def test_an_ordinary_run_shows_confidence_and_a_written_one_comes_back(model_folder, tmp_path):
    scans, out = write_cohort(tmp_path / "scans", 1), tmp_path / "out"
    words = ["--model", str(model_folder), "--out", str(out), "--device", "cpu", "--workers", "0"]
    assert main(["segment", str(scans), *words]) == 0
    picture = next((out / "report").glob("*.png"))
    assert tiles_in(picture).shape[2] == 3
    script = next((out / "report" / "volumes").glob("*.js"))
    assert voxels(script).max() > 200
    assert main(["segment", str(scans), *words, "--write", "nifti,confidence"]) == 0
    before = voxels(script)
    shutil.rmtree(script.parent)
    assert main(["report", str(out), "--scans", str(scans), "--exclude", "good*"]) == 2
    assert not script.exists()
    assert main(["report", str(out), "--scans", str(scans), "--include", "good*"]) == 0
    after = voxels(script)
    assert after[after > 0].mean() == pytest.approx(before[before > 0].mean(), rel=0.02)


def voxels(script):
    parts = json.loads(script.read_text()[len("medsegVolume(") : -len(");\n")])
    return nifti_from_bytes(base64.b64decode(parts["confidence"]))[0]
