"""The page in real Chromium: no request, no error, labels over the scan, names on hover, contrast, narrow and dark.

Needs node, Chromium and a folder of node modules with playwright-core and axe-core, named by MEDSEG_NODE_MODULES
(``npm install playwright-core axe-core``); skipped without. The pictures stay in the folder of the test.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medseg.cli.label_file import read_label_file
from medseg.report.niivue import viewer
from medseg.report.ratings import Rating, read_ratings
from medseg.report.write import write_report
from sample_data.report_folder import NAMES, make_out
from tests.support.paths import SUPPORT

MODULES = Path(os.environ.get("MEDSEG_NODE_MODULES", "node_modules"))
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def drive(page: Path, folder: Path, *words: str) -> dict[str, Any]:
    if not (MODULES / "playwright-core").is_dir() or not (MODULES / "axe-core").is_dir():
        pytest.skip("MEDSEG_NODE_MODULES names no folder with playwright-core and axe-core")
    if CHROMIUM is None or shutil.which("node") is None:
        pytest.skip("Chromium or node is not installed")
    script = SUPPORT / "browser_page.mjs"
    done = subprocess.run(
        ["node", str(script), page.as_uri(), str(folder), str(MODULES.resolve()), *words],
        capture_output=True, text=True, timeout=500, check=False, env={**os.environ, "CHROMIUM": CHROMIUM},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(found: dict[str, Any]) -> None:
    assert found["requests"] == []
    assert found["errors"] == []
    assert {name: broken for name, broken in found["axe"].items() if broken} == {}
    assert {name: n for name, n in found["overflow"].items() if n > 0} == {}
    assert found["pictures"] == {"broken": 0, "examples": 3}
    assert found["texts"]["ascending"] == "scan000"
    assert found["texts"]["descending"] == "scan007"


def check_naming(folder: Path) -> None:
    changes = read_label_file(folder / "labels.yaml")
    assert changes.names == {**NAMES, 3: 'bright "matter": é'}
    assert changes.colors[3] == (10, 20, 30)


def check_viewer(found: dict[str, Any]) -> None:
    assert found["state"] == "shown"
    assert found["focus_inside"]
    assert found["closed"]
    said = {text for text in found["texts"]["hover"] if text[0].isdigit()}
    assert said == {f"{number} {name}" for number, name in NAMES.items()}
    assert found["with_labels"] > 3 * found["without_labels"]
    assert found["without_labels"] < found["without_first"] < 0.8 * found["with_labels"]
    assert not found["confidence_at_first"]
    assert found["with_confidence"] > 3 * found["without_labels"]
    assert not found["labels_beside_confidence"]
    assert found["after_confidence"] == pytest.approx(found["with_labels"], rel=0.05)
    assert re.search(r", probability (0\.\d\d|1\.00): intensity", found["texts"]["sure"])
    texts = found["texts"]
    told = r": intensity \d[\d.]*; [RL] \d+, [AP] \d+, [SI] \d+ mm; voxel \d+, \d+, \d+ of \d+ x \d+ x \d+$"
    assert re.search(told, texts["told"])
    windows = [texts[name].split(" to ") for name in ("window", "wider", "window_again")]
    before, wider, again = ([float(part) for part in window] for window in windows)
    assert wider[1] - wider[0] > 1.1 * (before[1] - before[0])
    assert again == before
    assert (texts["next"], texts["previous"]) == ("scan000", "scan001")  # in the order of the table, which is sorted


@pytest.mark.slow
@pytest.mark.parametrize("single_file", [False, True], ids=["beside", "inside"])
def test_the_page_with_its_viewer(tmp_path, single_file):
    if viewer() is None:
        pytest.skip("the extra `report` (ipyniivue) is not installed")
    page = write_report(make_out(tmp_path / "out", 8), single_file=single_file)
    if single_file:
        page = page.rename(tmp_path / "alone.html")
        shutil.rmtree(tmp_path / "out")
    found = drive(page, tmp_path)
    check(found)
    check_viewer(found)
    check_naming(tmp_path)
    assert read_ratings(tmp_path / "ratings.csv") == {"scan001": Rating("exclude", 'moved, "twice" in 1 2 3')}
    assert (tmp_path / "viewer.png").stat().st_size > 20_000


@pytest.mark.slow
def test_the_page_without_viewer(tmp_path):
    found = drive(write_report(make_out(tmp_path / "out", 8, volumes=False)), tmp_path)
    check(found)
    assert "state" not in found
