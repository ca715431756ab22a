"""The page: complete, well-formed, self-contained, escaped, readable in both colour schemes, small enough."""

from __future__ import annotations

import json
import os
import re
from importlib.resources import files

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.labels.table import LabelTable
from medseg.model.record import Record, record_path, write_record
from medseg.quality.measures import Flag
from medseg.report import scans as scans_module
from medseg.report.folder import mosaic_of, slices_of
from medseg.report.outcome import read_outcome
from medseg.report.outliers import flagged, odd_shares
from medseg.report.thumbnails import thumbnail
from medseg.report.write import write_report
from tests.support.call_counts import n_calls
from tests.support.page_parser import Page

EVIL = "<script>alert(1)</script>&\"'"
CONFIG = {"training": {"seed": 7}}


PLACE = 8
"""Of the odd scan, ``site1/scan5``, among all by name."""
FLAGS = (Flag("share", 61.5, 31, 44.2, "%", 3), Flag("extent_lr_mm", 71, 120, 160, "mm"))


def write_out(out, records, *, mosaic=None, table=None, run=True):
    """An output folder as `medseg segment` leaves it."""
    out.mkdir(parents=True, exist_ok=True)
    for record in records:
        write_record(out, record)
    if run:
        facts = {"medseg": "0.1.0", "command": ["medseg", "run", "--config", "smoke"], "seed": 7, "device": "cpu"}
        labels = [label.model_dump(mode="json") for label in table or LabelTable.default(3)]
        plan = {"modality": "CT"}
        (out / "run.json").write_text(json.dumps({**facts, "config": CONFIG, "plan": plan, "labels": labels}))
    for record in records if mosaic else []:
        if record.is_done:
            for source, name in (
                (mosaic, f"{record.scan}.png"),
                (mosaic.with_suffix(".npz"), f"slices/{record.scan}.npz"),
            ):
                path = out / "report" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, path)
    return out


def done(name, *volumes, flags=()):
    return Record(name, "done", "", "", 1.5, 800, dict(enumerate(map(float, volumes), start=1)), flags=flags)


@pytest.fixture
def out(tmp_path, mosaic, table):
    records = [
        done(f"site{n % 2}/scan{n}", 1000 + n, 2000 + 10 * n, 9000 if n == 5 else 3000 + n, flags=FLAGS * (n == 5))
        for n in range(8)
    ]
    records += [
        Record("tilted", "refused", "gantry_tilt", "found a tilt of 12.5 degrees; regrid it", 0.1, 100),
        Record("broken", "failed", "out_of_memory", "not enough memory", 9.0, 100),
        Record("odd reason", "refused", "", "no code here", 0.1, 100),
    ]
    described = table.replace(1, mean_intensity=-612.5, volume_ml=1.0)
    out = write_out(tmp_path / "out", records, mosaic=mosaic, table=described)
    facts = json.loads((out / "run.json").read_text())
    facts["training"] = {"losses": [2.0, 1.0, 0.5], "n_steps": 75, "ended_early": False}
    (out / "run.json").write_text(json.dumps(facts))
    return out


def test_the_page_tells_everything(out):
    page = Page(write_report(out).read_text("utf-8"))
    text = " ".join(page.texts)
    for n in range(8):
        assert f"site{n % 2}/scan{n}" in text
    for said in ("tilted", "gantry_tilt", "found a tilt of 12.5 degrees; regrid it", "not enough memory",
                 "no code here", "8 of 11 scans segmented", "grey & white", "SCT 389080008 White matter",
                 "mean intensity, HU", "-612.5", "medseg run --config smoke", "cpu"):  # fmt: skip
        assert said in text, said
    assert len([x for x in page.all("img") if x["class"] == "thumb"]) == 8
    assert len([x for x in page.all("img") if x["class"] == "alone"]) == 3
    assert len(page.all("polyline")) == 1
    links = {x["href"] for x in page.all("a")}
    assert "report/site1/scan5.png" in links
    assert f"#scan-{PLACE}" in links


def test_the_odd_scan_is_marked_and_its_row_can_be_reached(out):
    page = Page(write_report(out).read_text("utf-8"))
    marked = [cell for row in page.rows for cell in row if "odd" in (cell.get("class") or "").split()]
    assert [cell["data-value"] for cell in marked] == ["9"]
    assert [x["id"] for x in page.all("tr") if x.get("id")].count(f"scan-{PLACE}") == 1
    assert len([x for x in page.all("path") if x.get("class") == "odd-dot"]) == 1


def test_flags_are_told_in_words_and_the_label_is_marked(out):
    outcome = read_outcome(out)
    assert flagged(outcome) == [(PLACE, flag) for flag in FLAGS]
    assert str(FLAGS[0]) == "label 3 share 61.5 %, expected 31 to 44.2 %"
    assert str(FLAGS[1]) == "extent left to right 71 mm, expected 120 to 160 mm"
    assert [(odd.number, odd.is_more) for odd in odd_shares(outcome).values()] == [(3, True)]
    texts = " ".join(Page(write_report(out).read_text("utf-8")).texts)
    assert all(str(flag) in texts for flag in FLAGS)
    assert "far more than others" in texts


def test_without_flags_nothing_is_odd(tmp_path):
    out = write_out(tmp_path / "out", [done(f"s{n}", 1, 2, 900 if n == 3 else 3 + n) for n in range(8)])
    assert odd_shares(read_outcome(out)) == {}
    assert "Look at these first" not in write_report(out).read_text("utf-8")


def test_the_page_needs_nothing_from_elsewhere(out):
    text = write_report(out).read_text("utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", text))
    page = Page(text)
    assert not page.all("link")
    assert not page.all("iframe")
    assert all(str(x["src"]).startswith("data:image/jpeg;base64,") for x in page.all("img"))
    assert all("src" not in x for x in page.all("script"))


def test_the_content_policy_allows_the_style_and_the_script_that_are_there(out):
    import base64
    import hashlib

    text = write_report(out).read_text("utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for tag in ("style", "script"):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"\son\w+=|\sstyle=", text.split("</style>")[1].split("<script>")[0])


def test_names_and_reasons_are_escaped(tmp_path):
    labels = [label.model_dump(mode="json") for label in LabelTable.default(2).replace(1, name=EVIL)]
    records = [done(EVIL, 1, 2), Record("x", "refused", "code", EVIL, 1, 1), Record("y", EVIL)]
    out = write_out(tmp_path / "out", records)
    facts = {"device": EVIL, "config": {EVIL: EVIL}, "packages": {EVIL: EVIL}, "labels": labels}
    (out / "run.json").write_text(json.dumps(facts))
    text = write_report(out).read_text("utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "alert(1)" not in text.split("<script>")[1].split("</script>")[0]
    assert " ".join(page.texts).count(EVIL) >= 5


def test_every_sortable_column_has_its_values(out):
    page = Page(write_report(out).read_text("utf-8"))
    heads = [cell for row in page.rows for cell in row if cell.get("scope") == "col"]
    assert (
        len([x for x in page.all("button") if "class" not in x]) == sum(cell["data-kind"] != "" for cell in heads) - 3
    )  # pictures are not sorted
    scans = [row for row in page.rows if row[0].get("scope") == "row" and len(row) == 9]
    assert len(scans) == 11
    assert [float(row[5]["data-value"]) for row in scans if row[5]["data-value"]] == pytest.approx(
        [9 if n == 5 else 3 + n / 1000 for n in (0, 2, 4, 6, 1, 3, 5, 7)]  # by their names
    )
    assert [row[5]["data-value"] for row in (scans[0], scans[1], scans[-1])] == [""] * 3
    script = files("medseg.report").joinpath("page.js").read_text("utf-8")
    assert "aria-sort" in script


def test_damaged_facts_and_records_cost_only_themselves(tmp_path):
    out = write_out(tmp_path / "out", [done("a", 1, 2, 3), done("b", 1, 2, 3)], run=False)
    text = write_report(out).read_text("utf-8")
    assert "2 of 2 scans segmented" in text
    assert "label 3" in text
    (out / "run.json").write_text("{ damaged")
    record_path(out, "b").write_text("{ damaged")
    text = write_report(out).read_text("utf-8")
    assert "<h2>This run" not in text
    assert "1 of 1 scan segmented" in text


def test_the_model_of_another_run_is_not_told(tmp_path):
    out = write_out(tmp_path / "out", [done("a", 1, 2, 3)])
    described = LabelTable.default(3).replace(1, mean_intensity=-612.5)
    (out / "model").mkdir()
    facts = {"config": CONFIG, "labels": described.model_dump(mode="json")}
    (out / "model" / "model.json").write_text(json.dumps(facts))
    assert "-612.5" not in write_report(out).read_text("utf-8")


def test_a_folder_without_records_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text("scan,status,reason\na,done,\n")
    with pytest.raises(ConfigError, match=r"found no \.medseg with records"):
        write_report(tmp_path)


def test_pictures_never_come_from_outside(tmp_path, mosaic):
    os.link(mosaic, tmp_path / "secret.png")
    os.link(mosaic.with_suffix(".npz"), tmp_path / "secret.npz")
    out = write_out(tmp_path / "out", [done("../../secret", 1, 2, 3), done("../../../secret", 1, 2, 3)])
    (out / "report" / "slices").mkdir(parents=True)
    assert mosaic_of(out, "../../secret") is None
    assert slices_of(out, "../../../secret") is None
    assert Page(write_report(out).read_text("utf-8")).all("img") == []


def test_damaged_and_foreign_slices_cost_only_themselves(tmp_path, mosaic, slices):
    names = ("sound", "cut off", "changed", "other shape", "pickled", "no archive")
    out = write_out(tmp_path / "out", [done(name, 1, 2, 3) for name in names], mosaic=mosaic)
    folder = out / "report" / "slices"
    content = mosaic.with_suffix(".npz").read_bytes()
    for name in names[1:]:
        (folder / f"{name}.npz").unlink()
    (folder / "cut off.npz").write_bytes(content[: len(content) // 2])
    (folder / "changed.npz").write_bytes(content[:9000] + b"\xff" * 99 + content[9099:])
    np.savez(
        folder / "other shape.npz", **{**vars(slices), "grey": slices.grey[:2], "shape": (1, 1, 1), "affine": np.eye(4)}
    )
    np.savez(folder / "pickled.npz", grey=np.array([{}], dtype=object))
    np.save(folder / "no archive", slices.grey)
    (folder / "no archive.npy").replace(folder / "no archive.npz")
    page = Page(write_report(out).read_text("utf-8"))
    assert [x["alt"] for x in page.all("img") if x["class"] == "thumb"] == ["labels of sound"]
    assert {f"picture of {name}" for name in names[1:]} <= set(page.texts)


def test_the_page_follows_new_colors_without_new_pictures(out):
    before = thumbnails(out)
    facts = json.loads((out / "run.json").read_text())
    facts["labels"][2]["color"] = [1, 2, 3]
    (out / "run.json").write_text(json.dumps(facts))
    assert thumbnails(out) != before


def thumbnails(out):
    return [x["src"] for x in Page(write_report(out).read_text("utf-8")).all("img") if x["class"] == "thumb"]


def test_many_scans_stay_small_and_each_costs_the_same(tmp_path, mosaic, slices):
    """Seven calls a scan for every other scan would be noticed, beside 9,700 for itself."""
    rng = np.random.default_rng(0)
    rows = [done(f"s{n}", *rng.normal(9e5, 9e4, 3)) for n in range(100)]
    one, few, out = (write_out(tmp_path / f"{n}", rows[:n], mosaic=mosaic) for n in (1, 10, 100))
    write_report(one)  # what is loaded once
    assert n_calls(lambda: write_report(out)) < 9.3 * n_calls(lambda: write_report(few))
    path = out / "report.html"
    assert len(thumbnail(slices, LabelTable.default(3))) * 100 < path.stat().st_size < 30e6
    assert 100 * 120_000 < 30e6  # room for pictures with more texture than a phantom's


def test_pictures_beyond_the_budget_become_links(out, monkeypatch):
    monkeypatch.setattr(scans_module, "MAX_PICTURES_BYTES", 1)
    page = Page(write_report(out).read_text("utf-8"))
    assert len([x for x in page.all("img") if x["class"] == "thumb"]) == 1
    assert "picture of site1/scan7" in page.texts


def test_the_page_tells_which_labels_halves_of_the_cohort_give_again(tmp_path, table):
    write_out(tmp_path, [Record("a", "done", volumes_mm3={1: 10.0, 2: 20.0, 3: 30.0})], table=table)
    assert "found again in halves" not in write_report(tmp_path).read_text("utf-8")
    known = table.replace(1, stability=0.93).replace(2, stability=0.41)
    write_out(tmp_path, [Record("a", "done", volumes_mm3={1: 10.0, 2: 20.0, 3: 30.0})], table=known)
    texts = Page(write_report(tmp_path).read_text("utf-8")).texts
    assert "found again in halves" in " ".join(texts)
    assert {"0.93", "0.41"} <= {text.strip() for text in texts}
