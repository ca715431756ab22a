"""Examples of patches: truly the network's, in the output folder and the page, never in the model folder."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image

from medseg.cli.main import main
from medseg.config import AutoencoderConfig
from medseg.network.autoencoder import Autoencoder
from medseg.network.examples import Example, examples_of
from medseg.preprocessing.prepare import Prepared
from medseg.report.training import SIDE, examples_name, write_examples
from medseg.report.write import write_report
from sample_data.report_folder import make_out
from tests.support.cohorts import write_cohort


def prepared(shape, seed):
    """Noise in the left half of a box, nothing elsewhere."""
    image, inside = torch.zeros(1, *shape), torch.zeros(1, *shape)
    inside[:, 1 : shape[0] // 2] = 1
    image[:, 1 : shape[0] // 2] = torch.rand(shape[0] // 2 - 1, *shape[1:], generator=torch.manual_seed(seed)) + 5
    return Prepared(*(MetaTensor(part, affine=torch.eye(4)) for part in (image, inside, image)))


def network():
    torch.manual_seed(0)
    found = Autoencoder(AutoencoderConfig(channels=4, n_components=5), 4)
    found.start_from(torch.linspace(5, 6, 1000), 0.01)
    return found.eval()


def test_examples_come_from_the_scans_and_a_voxel_does_not_see_itself():
    scans = [prepared((40, 32, 20), 0), prepared((33, 40, 48), 1)]
    found = examples_of(network(), scans, 24, seed=3)
    assert len(found) == 4
    for example in found:
        assert example.original.shape == example.reconstruction.shape == (24, 24)
        kept = example.original > 0
        assert 0.2 < kept.mean() <= 1
        assert (example.reconstruction[~kept] == 0).mean() > 0.9  # 0 is also the darkest voxel
        assert abs(np.corrcoef(example.original[kept], example.reconstruction[kept])[0, 1]) < 0.2  # it is pure noise
    again = examples_of(network(), scans, 24, seed=3)
    assert all(np.array_equal(a.original, b.original) for a, b in zip(found, again, strict=True))
    other = examples_of(network(), scans, 24, seed=4)
    assert not all(np.array_equal(a.original, b.original) for a, b in zip(found, other, strict=True))


def test_the_reconstruction_is_the_expected_intensity():
    net = network()
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([-50.0, -50, 0, -50, -50]))  # component 2, wherever
    (example, *_) = examples_of(net, [prepared((40, 32, 24), 0)], 24, seed=0)
    value = float((net.means[2] * net.scale + net.centre).detach())
    kept = example.original > 0
    assert np.ptp(example.reconstruction[kept]) < 1e-5
    assert example.reconstruction[kept][0] == pytest.approx(value - 5, abs=0.03)


CREATED = "2026-11-22T20:44:01+00:00"


def out_with_examples(tmp_path):
    """An output folder whose run had four examples: bright above, dark on the right."""
    out = make_out(tmp_path / "out", 1, side=24, volumes=False)
    original = np.zeros((24, 24), np.float32)
    original[:, 12:] = 1.0  # front
    original[:6, 12:] = 0.5  # left
    write_examples(out, CREATED, [Example(original, original / np.float32(2))] * 3)
    facts = json.loads((out / "run.json").read_text())
    training = {"losses": [2.0, 1.0], "n_steps": 20, "ended_early": False}
    (out / "run.json").write_text(json.dumps({**facts, "created": CREATED, "training": training}))
    return out


def test_the_page_shows_what_was_given_made_and_there(tmp_path):
    text = write_report(out_with_examples(tmp_path)).read_text("utf-8")
    assert "<polyline" in text
    rows = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(part))).convert("RGB")).astype(int)
        for part in re.findall(r'class="example"[^>]*src="data:image/png;base64,([^"]*)"', text)
    ]
    assert [row.shape for row in rows] == [(SIDE, 3 * SIDE, 3)] * 3
    given, made, original = rows
    assert (original[2, 2] == 255).all()  # front and right: up and left
    assert (original[2, SIDE - 2] == 128).all()
    assert (original[-2] == 0).all()
    assert np.abs(made * 2 - original).max() <= 1
    differs = (given != original).any(axis=-1)
    assert differs.mean() == pytest.approx(1 / 16)
    assert (given[differs] == (240, 130, 0)).all()


def test_examples_of_another_model_are_neither_shown_nor_kept(tmp_path):
    out = out_with_examples(tmp_path)
    scan = out / "report" / "training-1.png"  # a scan may be called like this
    (out / "report" / "scan000.png").rename(scan)
    old = out / "report" / examples_name(CREATED)
    facts = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**facts, "created": "2027-01-01T00:00:00+00:00"}))
    assert 'class="example"' not in write_report(out).read_text("utf-8")
    blank = np.zeros((24, 24), np.float32)
    write_examples(out, "2027-01-01T00:00:00+00:00", [Example(blank, blank)])
    assert not old.exists()
    assert scan.is_file()
    assert write_report(out).read_text("utf-8").count('class="example"') == 3


@pytest.mark.parametrize("content", [b"no picture", None], ids=["damaged", "other layout"])
def test_a_damaged_picture_costs_only_itself(tmp_path, content):
    out = out_with_examples(tmp_path)
    path = out / "report" / examples_name(CREATED)
    if content is None:
        Image.new("RGB", (100, 3 * SIDE)).save(path)
    else:
        path.write_bytes(content)
    text = write_report(out).read_text("utf-8")
    assert "<polyline" in text
    assert 'class="example"' not in text


def test_a_run_keeps_examples_beside_the_page_and_none_in_the_model(tmp_path):
    scans, out, folder = write_cohort(tmp_path / "scans", 1), tmp_path / "out", tmp_path / "elsewhere"
    words = ["--config", "smoke", "--set", "training.max_steps=4", "--device", "cpu", "--workers", "0"]
    words += ["--set", "training.eval_interval=2"]
    assert main(["run", str(scans), "--out", str(out), "--model", str(folder), *words]) == 0
    (picture,) = (out / "report").glob("training-*.png")
    with Image.open(picture) as found:
        assert found.size == (4 * SIDE, 3 * SIDE)
        assert found.info == {}
        assert len(np.unique(np.asarray(found))) > 20
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".ctbl"}
    text = (out / "report.html").read_text("utf-8")
    assert text.count('class="example"') == 3
    assert "<polyline" in text
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text("utf-8") == text
