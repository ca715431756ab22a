"""Naming labels: from the command line, from a file, from the page; outputs and pictures that follow."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from medseg.cli.label_file import read_label_file, write_label_file
from medseg.cli.label_list import print_labels
from medseg.cli.main import main
from medseg.errors import ConfigError
from medseg.io.label_volumes import read_labels
from medseg.labels.suggestions import suggest_names
from medseg.labels.table import Label, LabelTable
from medseg.model.model import Model
from medseg.model.segmentation import Segmentation
from medseg.report.mosaic import renew_pictures, write_pictures
from medseg.report.viewer_volumes import read_viewer_volume
from medseg.report.write import write_report
from medseg.spatial.geometry import Geometry
from sample_data.phantom import phantom
from sample_data.report_folder import make_out, small_grid, table
from tests.support.mosaics import tiles_in


def labels_of(*means):
    return [Label(number=n, name=f"label {n}", color=(n, n, n), mean_intensity=m) for n, m in enumerate(means, 1)]


def test_ct_is_suggested_by_hounsfield_units_and_only_where_certain():
    found = suggest_names(labels_of(-1000, -800, -90, 45, 700, -300, 200, None), modality="CT", method="cohort",
                          n_clusters=8)  # fmt: skip
    assert found == {1: "air", 2: "lung", 3: "fat", 4: "soft tissue", 5: "bone"}


@pytest.mark.parametrize(
    ("means", "modality", "method", "n_clusters"),
    [((0.2, 0.5, 0.8), "MR", "cohort", 3), ((0.2, 0.5, 0.8), "MR", "per_scan", 4), ((0.2, 0.8), "MR", "per_scan", 3),
     ((0.8, 0.5, 0.2), "MR", "per_scan", 3), ((0.2, 0.5, None), "MR", "per_scan", 3),
     ((0.2, 0.5, 0.8), "PT", "per_scan", 3)],
)  # fmt: skip
def test_mr_is_not_suggested_unless_it_is_a_t1_brain(means, modality, method, n_clusters):
    assert suggest_names(labels_of(*means), modality=modality, method=method, n_clusters=n_clusters) == {}


def t1_brain(*volumes_ml):
    return [x.model_copy(update={"volume_ml": v}) for x, v in zip(labels_of(0.2, 0.5, 0.8), volumes_ml, strict=True)]


@pytest.mark.parametrize("volumes_ml", [(350, 930, 670), (60, 230, 160), (700, 500, 400), (5, 650, 450)])
def test_t1_brains_are_suggested(volumes_ml):
    found = suggest_names(t1_brain(*volumes_ml), modality="MR", method="per_scan", n_clusters=3)
    assert found == {1: "cerebrospinal fluid", 2: "grey matter", 3: "white matter"}


@pytest.mark.parametrize(
    "volumes_ml", [(1900, 1700, 740), (1.2, 3.1, 2.2), (900, 350, 250), (200, 100, 900), (200, 1100, 40), (None,) * 3]
)
def test_volumes_of_no_brain_are_not_suggested(volumes_ml):
    """A whole head, a mouse, three others whose parts are none of a brain's, and one of which nothing is known."""
    assert suggest_names(t1_brain(*volumes_ml), modality="MR", method="per_scan", n_clusters=3) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: [1", "not valid YAML"),
        ("- 1", "the file: "),
        ("labels:\n  1: {nam: x}", r"labels\.1\.nam: unknown key; a label has name, color, code and merge"),
        ("labels:\n  1: {color: [1, 2]}", r"labels\.1\.color: .*at least 3"),
        ("labels:\n  1: {color: [1, 2, 300]}", r"labels\.1\.color\.2: .*less than or equal to 255, found 300"),
        ("labels:\n  1: {name: 7}", r"labels\.1\.name: .*string, found 7"),
        ("labels:\n  one: {name: x}", "valid integer, found 'one'"),
        ("labels:\n  1: {code: {value: '1'}}", r"labels\.1\.code\.meaning: field required"),
        ("labels:\n  1: {name: a}\n  1: {name: b}", "1 is there twice; keep one"),
        ("labels:\n  1: {merge: [2]}\n  2: {name: b}", "label 2 is merged and used elsewhere"),
        ("labels:\n  1: {merge: [3]}\n  2: {merge: [3]}", "label 3 is merged and used elsewhere"),
    ],
)
def test_a_wrong_file_is_explained_in_one_sentence(text, message, tmp_path):
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_label_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_label_file(tmp_path / "none.yaml")


def test_what_is_saved_changes_nothing_when_it_is_read_back(model, tmp_path):
    named = model.relabelled(model.table.replace(1, name='a "b": é', color=(1, 2, 3)), {3: 2})
    write_label_file(named, tmp_path / "labels.yaml")
    changes = read_label_file(tmp_path / "labels.yaml")
    again = changes.apply(named)
    assert (again.table, again.scheme.merged) == (named.table, {3: 2})
    fresh = changes.apply(model)
    assert (fresh.table[1].name, fresh.table[1].color, fresh.scheme.merged) == ('a "b": é', (1, 2, 3), {3: 2})


@pytest.fixture(scope="module")
def brain_model(model):
    """The model of the phantoms, its labels as large as those of a brain."""
    table = model.table
    for number, volume_ml in enumerate((350.0, 930.0, 670.0), start=1):
        table = table.replace(number, volume_ml=volume_ml)
    return model.relabelled(table, {})


def test_the_phantoms_are_no_brains(model_folder, tmp_path):
    with (tmp_path / "text").open("w") as file:
        console = Console(width=160, record=True, file=file)
        print_labels(model_folder, console)
        assert "matter?" not in console.export_text()


@pytest.mark.parametrize("colors", [None, "truecolor"])
def test_the_table_shows_labels_and_suggestions(brain_model, tmp_path, colors):
    with (tmp_path / "text").open("w") as file:
        console = Console(width=160, record=True, force_terminal=colors is not None, color_system=colors, file=file)
        brain_model.save(tmp_path / "model")
        print_labels(tmp_path / "model", console)
        text = console.export_text()
        assert "label 2" in text
        assert "white matter?" in text
        assert ("██" in text) == (colors is not None)
        assert ("204,187,68" in text) == (colors is None)
    assert "report.html of a folder" in " ".join(text.split())


def test_label_shows_saves_and_takes_a_file_without_segmenting(phantom_scans, brain_model, tmp_path, capsys):
    folder, out = tmp_path / "model", tmp_path / "out"
    brain_model.save(folder)
    scan = phantom_scans / "scans" / "RAS.nii.gz"
    assert main(["segment", str(scan), "--model", str(folder), "--out", str(out), "--workers", "0"]) == 0
    picture, run = (out / "report" / "RAS.png").read_bytes(), (out / "run.json").read_bytes()
    expected = {"number": 3, "name": "label 3", "color": [238, 102, 119]}
    assert expected.items() <= json.loads(run)["labels"][2].items()
    capsys.readouterr()
    assert main(["label", str(folder), "--save", str(tmp_path / "labels.yaml")]) == 0
    assert "grey matter?" in capsys.readouterr().out
    assert (out / "run.json").read_bytes() == run
    (tmp_path / "mine.yaml").write_text("labels:\n  3: {name: white matter, color: [10, 20, 30]}\n  1: {merge: [2]}\n")
    before, _ = read_labels(out / "RAS_seg.nii.gz")
    assert (
        main(["label", str(folder), "--from", str(tmp_path / "mine.yaml"), "--name", "1=rest", "--out", str(out)]) == 0
    )
    table = Model.load(folder).table
    assert [(x.number, x.name, x.color) for x in table] == [
        (1, "rest", (68, 119, 170)),
        (3, "white matter", (10, 20, 30)),
    ]
    after, _ = read_labels(out / "RAS_seg.nii.gz")
    assert np.array_equal(after, np.where(before == 2, 1, before))
    assert [x["name"] for x in json.loads((out / "run.json").read_text())["labels"]] == ["rest", "white matter"]
    assert (out / "report" / "RAS.png").read_bytes() != picture
    pixels = tiles_in(out / "report" / "RAS.png")[:, :, :2].reshape(-1, 3).astype(int)
    red = (pixels[:, 0] - pixels[:, 2] > 30).mean()  # label 3 was red, label 2 yellow
    assert red == 0
    if (out / "report" / "volumes" / "RAS.js").is_file():
        from medseg.io.compact import nifti_from_bytes

        shown, _ = nifti_from_bytes(read_viewer_volume(out / "report" / "volumes" / "RAS.js")[1])
        assert set(np.unique(shown)) == {0, 1, 3}


def test_a_redrawn_picture_is_the_one_that_would_have_been_drawn(tmp_path):
    image, truth = phantom(small_grid(30), noise=8.0, seed=0)
    labels, grid = np.asarray(truth), Geometry.of(image)
    other = table().replace(2, color=(1, 200, 2), name="new").without([3])
    merged = np.where(labels == 3, 1, labels).astype(np.uint8)
    paths = [(tmp_path / f"{name}.npz", tmp_path / f"{name}.png") for name in ("a", "b")]
    write_pictures(image, Segmentation(labels, grid, table()), *paths[0], title="a")
    write_pictures(image, Segmentation(merged, grid, other), *paths[1], title="a")
    assert renew_pictures(Segmentation(merged, grid, other), *paths[0], title="a", same_labels=False)
    assert paths[0][0].read_bytes() == paths[1][0].read_bytes()
    redrawn, drawn = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert np.array_equal(redrawn, drawn)


@pytest.mark.parametrize("slices", [None, b"no archive", {"grey": np.zeros(3)}], ids=["missing", "damaged", "foreign"])
def test_a_picture_without_sound_slices_is_left(tmp_path, slices):
    Image.new("RGB", (90, 30)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    if isinstance(slices, bytes):
        (tmp_path / "a.npz").write_bytes(slices)
    elif slices is not None:
        np.savez(tmp_path / "a.npz", **slices)
    labels = np.ones((4, 4, 4), np.uint8)
    result = Segmentation(labels, Geometry((4, 4, 4), np.eye(4)), LabelTable.default(1))
    assert not renew_pictures(result, tmp_path / "a.npz", tmp_path / "a.png", title="a")
    assert (tmp_path / "a.png").read_bytes() == content


def test_the_page_offers_names_and_suggestions(tmp_path):
    out = make_out(tmp_path / "out", 2, side=24, volumes=False)
    labels = [x.model_dump(mode="json") for x in table().replace(3, name="label 3", mean_intensity=700.0)]
    facts = {"plan": {"modality": "CT"}, "config": {"clustering": {"method": "cohort", "n_clusters": 3}}}
    (out / "run.json").write_text(json.dumps({**facts, "labels": labels}))
    text = write_report(out).read_text("utf-8")
    assert text.count("suggestion: bone") == 2
    assert 'data-number="1" data-field="name" value="cerebrospinal fluid"' in text
    assert 'data-field="color" value="#ee6677"' in text


def test_damaged_pictures_are_told_of_and_made_anew(phantom_scans, model_folder, tmp_path, capsys):
    folder, out = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "out"
    scan = phantom_scans / "scans" / "RAS.nii.gz"
    words = ["segment", str(scan), "--model", str(folder), "--out", str(out), "--workers", "0"]
    assert main(words) == 0
    mosaic, viewed = out / "report" / "RAS.png", out / "report" / "volumes" / "RAS.js"
    slices = out / "report" / "slices" / "RAS.npz"
    slices.write_bytes(slices.read_bytes()[:2000])
    has_viewer = viewed.is_file()
    if has_viewer:
        content = viewed.read_text()
        viewed.write_text(content.replace(content[200:300], "A" * 100))
    assert main(["label", str(folder), "--merge", "1,2", "--out", str(out)]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "the slices of its picture are missing or damaged" in told
    assert ("volume for the page's viewer was damaged" in told) == has_viewer
    assert not viewed.exists()
    assert main(words) == 0
    assert tiles_in(mosaic).shape[2] == 3
    assert viewed.is_file() == has_viewer
