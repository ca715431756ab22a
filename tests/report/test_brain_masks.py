"""Pictures of brain masks: the outline lies where the mask ends, nothing is drawn beyond the field of view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image

from medseg.model.record import MaskFacts, read_records, write_record
from medseg.report.brain_masks import FOLDER, OUTLINE, mask_rows, tools_of, write_mask_picture
from medseg.report.outcome import read_outcome
from medseg.report.write import write_report
from sample_data.heads import head, head_grid
from sample_data.report_folder import make_out
from tests.support.page_parser import Page

GRID = head_grid(4.0)
HEAD, BRAIN = head(GRID)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "a.png"
    mask = MetaTensor(torch.from_numpy(BRAIN[None]).float(), affine=HEAD.affine)
    write_mask_picture(HEAD, mask, path, title="a: brain mask (x)")
    return path


@pytest.fixture
def out(tmp_path, picture):
    """Two scans with a mask that a tool made, one with a given one, one refused."""
    made = make_out(tmp_path / "out", 3, volumes=False)
    done = [record for record in read_records(made) if record.is_done]
    facts = [MaskFacts("deepbet 1.0.2", 1400.0, "d1"), MaskFacts("by hand", 1300.0, "d2"), MaskFacts("given", 1200.0)]
    for record, mask in zip(done, facts, strict=True):
        write_record(made, replace(record, mask=mask))
        target = made / "report" / FOLDER / f"{record.scan}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(picture.read_bytes())
    return made


def tiles(path):
    with Image.open(path) as page:
        pixels = np.asarray(page.convert("RGB"))[19:]
    return pixels.reshape(3, 176, 4, 176, 3).transpose(0, 2, 1, 3, 4)


MARKS = 14
"""Rows of a tile at its top with side and place."""


def test_the_outline_is_that_of_the_mask(picture):
    shown = tiles(picture)
    is_line = (shown == OUTLINE).all(axis=-1)
    for plane in range(3):
        for slice_ in range(1, 3):
            line = is_line[plane, slice_]
            rows, columns = np.flatnonzero(line.any(axis=1)), np.flatnonzero(line.any(axis=0))
            height, width = np.ptp(rows), np.ptp(columns)
            axes = [(62.0, 70.0), (62.0, 58.0), (70.0, 58.0)][plane]
            assert width / height == pytest.approx(axes[0] / axes[1], rel=0.08)
            middle = shown[plane, slice_, rows.mean().astype(int), columns.mean().astype(int)]
            assert middle.min() > 60, "the brain is seen inside"
            assert rows[0] > 20, "and the head around it"
            assert shown[plane, slice_, rows[0] - 14 : rows[0], columns.mean().astype(int)].max() > 150


def test_beyond_the_field_of_view_it_is_black(tmp_path):
    """A mask that the field of view cuts does not go on beyond it."""
    half = slice(0, GRID.shape[2] // 2)
    mask = MetaTensor(torch.from_numpy(BRAIN[None, ..., half].astype(np.float32)), affine=HEAD.affine)
    write_mask_picture(MetaTensor(HEAD.as_tensor()[..., half], affine=HEAD.affine), mask, tmp_path / "a.png", title="a")
    coronal = tiles(tmp_path / "a.png")[1, 1]
    rows = np.flatnonzero((coronal == OUTLINE).all(axis=-1).any(axis=1))
    assert coronal[MARKS : rows[0] - 1].max() == 0
    assert coronal[rows[0] + 2 : rows[0] + 10].max() > 0


def test_rows_of_the_page(out):
    rows = mask_rows(out, read_outcome(out), is_inline=False)
    assert [(row.scan.name, row.scan.mask.by) for row in rows] == [("scan000", "deepbet 1.0.2"), ("scan001", "by hand")]
    assert tools_of(rows) == "1 by deepbet 1.0.2, 1 corrected by hand"
    assert [row.link for row in rows] == [f"report/{FOLDER}/scan000.png", f"report/{FOLDER}/scan001.png"]
    assert all(row.picture.startswith("data:image/jpeg;base64,") for row in rows)
    assert [row.link for row in mask_rows(out, read_outcome(out), is_inline=True)] == ["", ""]


def test_a_damaged_picture_is_left_out(out):
    (out / "report" / FOLDER / "scan000.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(out / "report" / FOLDER / "scan001.png")
    assert [row.picture for row in mask_rows(out, read_outcome(out), is_inline=False)] == ["", ""]


def test_the_page_says_who_made_them_and_how_to_correct_one(out):
    page = Page(write_report(out).read_text())
    text = " ".join(" ".join(page.texts).split())
    assert "2 masks: 1 by deepbet 1.0.2, 1 corrected by hand." in text
    assert "edit OUT/<scan>_brainmask.nii.gz and run the same command again" in text
    assert len([image for image in page.all("img") if str(image.get("alt")).startswith("brain mask of")]) == 2


def test_a_page_without_such_masks_says_nothing_of_them(tmp_path):
    page = write_report(make_out(tmp_path / "out", 1, volumes=False)).read_text()
    assert "brain-masks" not in page
