"""The scan view: small volumes that lie where the scan lies, a viewer that is only a guest, pages that hold both."""

from __future__ import annotations

import base64
import json
import re
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.io.compact import nifti_bytes, nifti_from_bytes
from medseg.report import niivue
from medseg.report.display import window_of
from medseg.report.markup import source_hash
from medseg.report.viewer_volumes import SIDE, read_viewer_volume, renew_labels, viewer_grid, write_viewer_volume
from medseg.report.write import write_report
from medseg.spatial.geometry import Geometry
from sample_data.phantom import grids, phantom
from sample_data.report_folder import make_out, small_grid

GRIDS = grids()
installed = pytest.mark.skipif(niivue.viewer() is None, reason="the extra `report` (ipyniivue) is not installed")


@pytest.fixture
def no_viewer(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(niivue, "distribution", absent)
    niivue.viewer.cache_clear()
    yield
    niivue.viewer.cache_clear()


def test_a_volume_survives_its_bytes():
    voxels = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    grid = Geometry((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    content = nifti_bytes(voxels, grid)
    found, where = nifti_from_bytes(content)
    assert np.array_equal(found, voxels)
    assert where.is_close(grid)
    assert content == nifti_bytes(voxels, grid)
    with pytest.raises(ValueError, match="not a compressed NIfTI"):
        nifti_from_bytes(b"nothing")
    for start in range(10, len(content) - 8, 7):
        damaged = content[:start] + b"\xff" * 8 + content[start + 8 :]
        with pytest.raises(ValueError, match="not a compressed NIfTI"):
            nifti_from_bytes(damaged)


@pytest.mark.parametrize("side", [12, 240])
def test_the_window_is_that_of_the_labelled_voxels_and_of_all_without_labels(side):
    values = torch.rand(1, side, side, side, generator=torch.Generator().manual_seed(0))
    image = MetaTensor(values, affine=torch.eye(4))
    labels = np.zeros((side,) * 3, np.uint8)
    assert window_of(image, labels) == pytest.approx((0.01, 0.995), abs=0.02)
    labels[4:9, 4:9, 4:9] = 1  # too few for a part of them
    exact = np.percentile(values.numpy()[0][labels > 0], (1, 99.5))
    assert window_of(image, labels) == pytest.approx(tuple(exact))
    labels[1:-1] = 2
    values[0, [0, -1]] = 50.0
    assert window_of(image, labels) == pytest.approx((0.01, 0.995), abs=0.02)


@pytest.mark.parametrize("shape", [(40, 30, 20), (512, 512, 28), (700, 20, 20)])
def test_the_grid_covers_the_scan_and_stays_small(shape):
    native = Geometry(shape, np.diag([0.5, 0.5, 5.0, 1.0]))
    grid = viewer_grid(native)
    assert max(grid.shape) <= SIDE
    assert grid.axcodes == "RAS"
    assert all(a >= b - 1e-9 for a, b in zip(grid.spacing_mm, native.spacing_mm, strict=True))
    last = [np.asarray(g.shape) - 1 for g in (grid, native)]
    ends = [g.to_world([[0, 0, 0], list(n)]) for g, n in zip((grid, native), last, strict=True)]
    assert np.all(np.abs(ends[0] - ends[1]) <= np.asarray(grid.spacing_mm) / 2 + 1e-6)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_labels_lie_where_they_lie_in_the_scan(name, tmp_path):
    image, truth = phantom(GRIDS[name], noise=8.0, seed=0)
    labels = np.asarray(truth)
    write_viewer_volume(image, labels, tmp_path / "a" / "scan.js")
    small, grid = nifti_from_bytes(read_viewer_volume(tmp_path / "a" / "scan.js")[1])
    for number in (1, 2, 3):
        place = grid.to_world(np.argwhere(small == number)).mean(axis=0)
        truth_place = GRIDS[name].to_world(np.argwhere(labels == number)).mean(axis=0)
        assert np.abs(place - truth_place).max() < 0.5 * max(grid.spacing_mm)
        volume = (small == number).sum() * grid.voxel_volume_mm3
        assert volume == pytest.approx((labels == number).sum() * GRIDS[name].voxel_volume_mm3, rel=0.1)


def test_nothing_is_drawn_beyond_an_oblique_scan(tmp_path):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]]
    native = Geometry((24, 24, 24), turn)
    image = MetaTensor(torch.rand(1, 24, 24, 24) + 1, affine=torch.tensor(native.affine))
    write_viewer_volume(image, np.ones(native.shape, np.uint8), tmp_path / "scan.js")
    grey, labels = (nifti_from_bytes(part)[0] for part in read_viewer_volume(tmp_path / "scan.js"))
    assert (labels[0, 0] == 0).all()
    assert (grey[0, 0] == 0).all()
    assert labels.sum() == pytest.approx(24**3, rel=0.05)


def test_merged_labels_follow_and_the_image_stays(tmp_path):
    image, truth = phantom(small_grid(24), noise=8.0, seed=0)
    labels = np.asarray(truth)
    path = tmp_path / "scan.js"
    sure = MetaTensor(torch.full((1, *labels.shape), 9, dtype=torch.uint8), affine=image.affine)
    write_viewer_volume(image, labels, path, sure)
    shown, where = nifti_from_bytes(base64.b64decode(json.loads(path.read_text()[13:-3])["confidence"]))
    assert np.array_equal(shown, sure[0].numpy())
    assert where.is_close(Geometry.of(image))
    before = read_viewer_volume(path)
    renew_labels(path, np.where(labels == 2, 1, labels).astype(np.uint8), Geometry.of(image))
    after = read_viewer_volume(path)
    assert after[0] == before[0]
    old, new = (nifti_from_bytes(parts[1])[0] for parts in (before, after))
    assert np.array_equal(new, np.where(old == 2, 1, old))
    assert "confidence" not in json.loads(path.read_text()[13:-3])  # that of the new labels is not known
    path.write_text('medsegVolume({"image": ""});\n')
    with pytest.raises(ValueError, match="holds no volumes"):
        read_viewer_volume(path)
    path.write_text("alert(1)")
    with pytest.raises(ValueError, match="holds no volumes"):
        read_viewer_volume(path)


@installed
def test_the_viewer_stands_beside_the_page_with_its_licence(tmp_path):
    out = make_out(tmp_path / "out", 2, side=24)
    text = write_report(out).read_text("utf-8")
    assert "Redistribution and use" in (out / "report" / "niivue-LICENSE.txt").read_text()
    assert "loadNiivue" in (out / "report" / "niivue.js").read_text("utf-8")
    assert re.findall(r'data-source="([^"]*)"', text) == [f"report/volumes/scan00{n}.js" for n in (0, 1)]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.endswith("'self' file:")
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    assert len(text) < 200_000


@installed
def test_a_single_file_holds_everything_and_links_nothing(tmp_path):
    out = make_out(tmp_path / "out", 2, side=24)
    text = write_report(out, single_file=True).read_text("utf-8")
    volumes = re.findall(r'<script type="application/json" data-volume="(\w+)">(.*?)</script>', text)
    assert [name for name, _ in volumes] == ["scan000", "scan001"]
    assert set(json.loads(volumes[0][1])) == {"image", "labels", "confidence", "facts"}
    assert "data-source" not in text
    assert 'href="report/' not in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    found = niivue.viewer()
    assert found is not None
    assert source_hash(found.script) in policy
    assert "file:" not in policy
    assert not (out / "report" / "niivue.js").exists()


def test_without_the_viewer_the_page_says_how_to_get_it(tmp_path, no_viewer):
    out = make_out(tmp_path / "out", 2, side=24)
    text = write_report(out).read_text("utf-8")
    assert 'pip install --no-deps "ipyniivue&gt;=2.4,&lt;3"' in text
    assert "<dialog" not in text
    assert text.count('class="thumb"') == 2


@installed
def test_without_volumes_there_is_no_view(tmp_path):
    out = make_out(tmp_path / "out", 2, side=24, volumes=False)
    text = write_report(out).read_text("utf-8")
    assert "<dialog" not in text
    assert "--scans SCANS" in text
    assert not (out / "report" / "niivue.js").exists()


@pytest.mark.parametrize("module", ["export{a as default};", 'log("Creating new Niivue instance");vA=new t2(C)'])
def test_another_build_of_the_viewer_is_no_viewer(module, tmp_path, monkeypatch):
    class Package:
        files = ("static/widget.js", "LICENSE")

        def locate_file(self, name):
            return tmp_path / str(name).rpartition("/")[2]

    (tmp_path / "widget.js").write_text(module)
    (tmp_path / "LICENSE").write_text("free")
    monkeypatch.setattr(niivue, "distribution", lambda _: Package())
    niivue.viewer.cache_clear()
    assert niivue.viewer() is None
    (tmp_path / "widget.js").write_text(
        f'{module}"Creating new Niivue instance");vA=new t2(C);"</script>"\nexport{{I as default}};'
    )
    niivue.viewer.cache_clear()
    found = niivue.viewer()
    niivue.viewer.cache_clear()
    if "export" not in module:
        assert found is not None
        assert "</script" not in found.script
        assert found.script.rstrip().endswith("return t2;\n};")
