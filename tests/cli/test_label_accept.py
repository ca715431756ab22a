"""`medseg label --accept`: names, colours and codes of what is suggested; what 3D Slicer reads of them."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import pytest
from pydicom.sr.codedict import codes

from medseg import ConfigError, Model
from medseg.cli.label_accept import accepted
from medseg.cli.main import main
from medseg.labels.known_tissues import KNOWN
from medseg.labels.suggestions import suggest_names
from medseg.labels.table import Code, Label, LabelTable, category_and_type

IN_DICOM = {
    "cerebrospinal fluid": codes.cid7153.CerebrospinalFluid, "grey matter": codes.cid7153.GrayMatter,
    "white matter": codes.cid7153.WhiteMatter, "lung": codes.cid7155.Lung, "fat": codes.cid7166.AdiposeTissue,
    "soft tissue": codes.cid7166.SoftTissue, "bone": codes.cid7166.BoneTissue,
}  # fmt: skip


@pytest.fixture
def folder(model_folder, tmp_path):
    """The model, its labels as large as the tissues of a brain."""
    model = Model.load(shutil.copytree(model_folder, tmp_path / "model"), device="cpu")
    labels = tuple(x.model_copy(update={"volume_ml": 400.0}) for x in model.table)
    replace(model, scheme=replace(model.scheme, table=LabelTable(labels=labels))).save(tmp_path / "model")
    return tmp_path / "model"


def ct_model(model, means):
    """The model as if it had been fitted to CT, its labels with these mean Hounsfield units."""
    labels = tuple(
        Label(number=n, name=f"label {n}", color=(n, n, n), mean_intensity=m) for n, m in enumerate(means, 1)
    )
    scheme = replace(model.scheme, table=LabelTable(labels=labels))
    return replace(model, scheme=scheme, plan=model.plan.model_copy(update={"modality": "CT"}))


def test_codes_are_those_of_dicom():
    for name, code in IN_DICOM.items():
        found = KNOWN[name].code
        assert found is not None
        assert (found.value, found.scheme, found.meaning) == (code.value, code.scheme_designator, code.meaning)
    assert {name for name, tissue in KNOWN.items() if tissue.code is None} == {"air"}


def test_everything_that_is_suggested_is_known():
    means = [-1000, -800, -90, 45, 700]
    labels = [Label(number=n, name="x", color=(0, 0, 0), mean_intensity=m) for n, m in enumerate(means, 1)]
    ct = suggest_names(labels, modality="CT", method="cohort", n_clusters=5)
    brain = [x.model_copy(update={"mean_intensity": x.number / 4, "volume_ml": 400.0}) for x in labels[:3]]
    t1 = suggest_names(brain, modality="MR", method="per_scan", n_clusters=3)
    assert {*ct.values(), *t1.values()} == set(KNOWN)


def test_categories_are_those_of_dicom():
    """Fat, bone and soft tissue are types of tissue (CID 7191), the others anatomical structures (CID 7192)."""
    categories = {
        name: category_and_type(Label(number=1, name=name, color=(0, 0, 0), code=tissue.code))[0].meaning
        for name, tissue in KNOWN.items()
    }
    assert {name for name, category in categories.items() if category == "Tissue"} == {
        "fat", "bone", "soft tissue", "air",
    }  # fmt: skip
    own = Label(number=1, name="x", color=(0, 0, 0), code=Code(value="3138006", meaning="x", scheme="99OWN"))
    assert category_and_type(own)[0].meaning == "Anatomical Structure"


def test_suggestions_become_names_colours_and_codes(phantom_scans, folder, tmp_path, capsys):
    out, scan = tmp_path / "out", str(phantom_scans / "scans" / "RAS.nii.gz")
    assert main(["segment", scan, "--model", str(folder), "--out", str(out), "--workers", "0"]) == 0
    assert "the labels have no names yet: look at them in the report, then" in capsys.readouterr().err
    assert main(["label", str(folder), "--accept", "--name", "1=fluid", "--out", str(out)]) == 0
    table = Model.load(folder).table
    assert [(x.name, x.color) for x in table] == [
        ("fluid", (68, 119, 170)), ("grey matter", (200, 200, 235)), ("white matter", (250, 250, 210)),
    ]  # fmt: skip
    assert table[1].code is None  # of what somebody calls otherwise nothing is taken
    head = (out / "RAS.seg.nrrd").read_bytes()[:6000].decode("latin1")
    assert "Segment2_Name:=white matter" in head
    assert "SCT^123037004^Anatomical Structure~SCT^389080008^White Matter~" in head
    with (out / "volumes.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["fluid", "grey matter", "white matter"]
    assert json.loads((out / "run.json").read_text())["labels"][2]["code"]["value"] == "389080008"
    capsys.readouterr()
    assert main(["label", str(folder), "--accept"]) == 0
    assert "every label has a name already, nothing to accept" in capsys.readouterr().err
    assert Model.load(folder).table == table
    assert main(["segment", scan, "--model", str(folder), "--out", str(tmp_path / "named"), "--workers", "0"]) == 0
    assert "no names yet" not in capsys.readouterr().err


def test_labels_of_one_suggestion_are_numbered_and_keep_their_colours(model, capsys):
    changes = accepted(ct_model(model, [-90, 40, 60]))
    assert changes.names == {1: "fat", 2: "soft tissue 1", 3: "soft tissue 2"}
    assert changes.colors == {1: (230, 220, 70)}
    assert {n: code.value for n, code in changes.codes.items()} == {1: "55603005", 2: "87784001", 3: "87784001"}
    assert accepted(ct_model(model, [-90, 200, -1000])).names == {1: "fat", 3: "air"}
    assert "nothing is certain about the labels 2" in capsys.readouterr().err
    assert 3 not in accepted(ct_model(model, [-90, 200, -1000])).codes


def test_names_after_a_merge_are_those_of_the_labels_that_are_left(model, folder, capsys):
    table = Model.load(folder).table
    assert main(["label", str(folder), "--accept", "--merge", "1,2"]) == 2
    assert "--accept: found no suggestion for the labels 1, 3, expected a CT or T1 brains" in capsys.readouterr().err
    assert Model.load(folder).table == table
    with pytest.raises(ConfigError, match="found no suggestion for the labels 1, 2, 3"):
        accepted(ct_model(model, [200, 210, 220]))
