"""Model folders that are damaged, or come from a stranger: refused in one sentence, never loaded as something else."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

from medseg import Model, ModelError
from medseg.io.tensors import load_tensors
from medseg.model.summary import Summary
from tests.support.model_folders import change_facts, change_tensors

NAMES = ("autoencoder.safetensors", "clusters.safetensors", "hierarchy.safetensors")


@pytest.fixture
def broken(quick_model, tmp_path):
    return shutil.copytree(quick_model, tmp_path / "broken")


def refused(folder, match):
    with pytest.raises(ModelError, match=match) as caught:
        Model.load(folder, device="cpu")
    assert len(str(caught.value)) < 400


def test_a_newer_format_is_refused_by_name(broken):
    change_facts(broken, lambda facts: facts.update(format=99, version="9.0"))
    refused(broken, r"format 99 \(medseg 9\.0\).*install a newer medseg")


def test_every_byte_of_the_weights_counts(broken):
    for name in NAMES:
        content = (broken / name).read_bytes()
        for at in (9, len(content) // 2, len(content) - 1):
            flipped = bytearray(content)
            flipped[at] ^= 1
            (broken / name).write_bytes(flipped)
            refused(broken, f"{name} is damaged")
        (broken / name).write_bytes(content[:500])
        refused(broken, f"{name} is damaged")
        (broken / name).unlink()
        refused(broken, f"{name} is missing")
        (broken / name).write_bytes(content)
    assert Model.load(broken).fingerprint


def test_every_value_of_the_facts_counts(broken):
    facts = json.loads((broken / "model.json").read_text())
    for change in ({"seed": facts["seed"] + 1}, {"created": "1970"}, {"plan": {**facts["plan"], "channels": 17}}):
        (broken / "model.json").write_text(json.dumps({**facts, **change}))
        refused(broken, "was changed after it was written; names and merges change by medseg label")
    (broken / "model.json").write_text(json.dumps(facts))  # another layout is the same content
    assert Model.load(broken).fingerprint


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", '"x"', "[" * 100_000, '{"a":' * 100_000, "\0", "{}"],
    ids=["cut", "list", "null", "text", "deep", "deep objects", "zero", "empty"],
)
def test_facts_that_are_none_are_refused(broken, text):
    (broken / "model.json").write_text(text)
    refused(broken, r"model\.json is damaged")


def test_facts_without_end_are_not_read(broken):
    os.truncate(broken / "model.json", 1 << 40)
    refused(broken, "larger than 67108864 bytes")


IMPOSSIBLE = {
    "merges in a circle": (lambda f: f.update(merged={"1": 2, "2": 1}), "belong to another model"),
    "a merge into itself": (lambda f: f.update(merged={"1": 1}), "belong to another model"),
    "a merge of no label": (lambda f: f.update(merged={"9": 1}), "belong to another model"),
    "merges that are none": (lambda f: f.update(merged="none"), "damaged .merged"),
    "a cut that is none": (lambda f: f.update(cut=77), "belong to another model"),
    "a negative cut": (lambda f: f.update(cut=-1), "belong to another model"),
    "another table": (lambda f: f["labels"]["labels"].pop(), "belong to another model"),
    "a colour that is none": (lambda f: f["labels"]["labels"][0].update(color=[0, 0, 256]), "labels.labels.0.color"),
    "negative channels": (lambda f: f["plan"].update(channels=-5), "plan.channels"),
    "a million channels": (lambda f: f["plan"].update(channels=10**6), "plan.channels"),
    "no spacing": (lambda f: f["plan"].update(spacing_mm=[0, 1, 1]), "plan.spacing_mm.0"),
    "endless spacing": (lambda f: f["plan"].update(spacing_mm=[1e300, 1, 1]), "plan.spacing_mm.0"),
    "a window upside down": (lambda f: f["plan"].update(percentiles=[99, 1]), "ranges must ascend"),
    "a million networks": (lambda f: f["config"]["training"].update(ensemble=10**6), "config.training.ensemble"),
    "a million components": (lambda f: f["config"]["autoencoder"].update(n_components=10**6), "n_components"),
    "other components": (lambda f: f["config"]["autoencoder"].update(n_components=3), "belong to another model"),
    "no digest of the weights": (lambda f: f["tensors"].clear(), "is damaged, or belongs to another model"),
    "a reference of no scan": (lambda f: next(iter(f["quality"]["scan"].values())).update(n_scans=0), "n_scans"),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_facts_are_refused_though_their_digest_fits(broken, name):
    change, message = IMPOSSIBLE[name]
    change_facts(broken, change)
    refused(broken, message)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_none_are_refused_though_their_digest_fits(broken, name):
    def spoil(tensors):
        first = next(key for key, value in tensors.items() if value.is_floating_point())
        tensors[first] = tensors[first].clone().fill_(float("nan"))

    change_tensors(broken, name, spoil)
    refused(broken, f"{name} is damaged.*not finite")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(owners=t["owners"] * 0),
        lambda t: t.update(owners=t["owners"] + 1),
        lambda t: t.update(owners=t["owners"][:-1]),
        lambda t: t.update(joins=t["joins"] * 0),
        lambda t: t.update(joins=t["joins"] + 10**6),
        lambda t: t.update(joins=t["joins"][:, :1]),
        lambda t: t.update(shift=t["shift"][:0]),
        lambda t: t.pop("centres"),
        lambda t: t.update(more=t["owners"].clone()),
    ],
    ids=["no owner", "other owners", "fewer owners", "no joins", "far joins", "half joins", "no shift", "less", "more"],
)
def test_a_tree_that_is_none_is_refused(broken, change):
    change_tensors(broken, "hierarchy.safetensors", change)
    refused(broken, "the hierarchy of the model is damaged|belong to another model")
    with pytest.raises(ModelError, match=r"the hierarchy of the model is damaged|belong to another model"):
        Summary.read(broken)


def test_a_folder_is_told_as_its_model_is(broken):
    model = Model.load(broken)
    model.cut_to(5).relabelled(model.cut_to(5).table, {2: 1}).save(broken)
    found = Summary.read(broken)
    assert found.text() == Model.load(broken).describe()
    assert "merged: 2 into 1" in found.text()
    assert "the hierarchy is cut to 5 labels" in found.text()
    (broken / "hierarchy.safetensors").unlink()
    with pytest.raises(ModelError, match="is missing"):
        Summary.read(broken)


def test_files_have_the_mode_that_the_umask_gives(model, quick_model, tmp_path):
    before = os.umask(0o027)
    try:
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()}
    assert len(modes) == 5
    assert set(modes.values()) == {0o640}


@pytest.mark.parametrize("name", [*NAMES, "model.json"])
def test_a_folder_that_may_not_be_read_is_named_so(broken, monkeypatch, name):
    real = type(broken).read_bytes

    def forbidden(path, *words):
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return real(path) if not words else real(path).decode(*words)

    monkeypatch.setattr(type(broken), "read_bytes", forbidden)
    monkeypatch.setattr(type(broken), "read_text", forbidden)
    refused(broken, f"no permission to read {name}; ask its owner")


def test_a_digest_is_checked_only_where_it_is_known(broken):
    assert load_tensors(broken / NAMES[0])
    with pytest.raises(ValueError, match="no file of tensors"):
        load_tensors(broken / "model.json")
