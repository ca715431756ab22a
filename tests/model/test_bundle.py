"""The exported encoder: the same latents by torch alone and by MONAI, valid metadata, no pickle, no names."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from monai.bundle.scripts import verify_net_in_out
from monai.data.meta_tensor import MetaTensor
from monai.transforms.io.array import SaveImage

import medseg
from medseg.cli.main import main
from medseg.network.tiled_inference import embed
from sample_data.phantom import phantom
from tests.support.scans import GRIDS, load_nifti

FILES = [
    "LICENSE",
    "configs/inference.json",
    "configs/metadata.json",
    "docs/README.md",
    "models/encoder.json",
    "models/encoder.safetensors",
    "scripts/__init__.py",
    "scripts/autoencoder.py",
]


@pytest.fixture(scope="module")
def folder(model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    assert main(["export", str(model_folder), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def seen(model):
    """What the network sees of a scan, (1, 2, I, J, K), and the model's own latents of it, (K, V) inside."""
    image = medseg.network_input(model, phantom(GRIDS["thick"], noise=5.0)[0])
    found = []

    def only(voxels):
        return MetaTensor(voxels.as_tensor(), affine=image.affine)

    def keep(network, x, features, rows, noise):
        found.append(network.log_prior(*(part[rows] for part in features)))
        return x[:, rows], x[:, rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.network.windows.SLAB_VOXELS", 1 << 40)  # one slab: voxels in their order
        embed(model.network, only(image[:1]), only(image[1:]), compute=keep)
    return image.as_tensor()[None], torch.cat(found).T


def assert_the_same(latents, seen):
    """Latents (1, K, I, J, K) against the model's own."""
    image, own = seen
    found = torch.as_tensor(np.asarray(latents))[0][:, image[0, 1] > 0]
    assert found.shape == own.shape
    assert float(own.std()) > 0.1
    assert float((found - own).abs().max()) < 1e-6


def test_the_folder_holds_what_a_bundle_holds_and_no_pickle(folder):
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == FILES
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert b"\x80\x02" not in (folder / "models" / "encoder.safetensors").read_bytes()[:2]


def test_the_encoder_file_alone_gives_the_same_latents(folder, seen, tmp_path):
    """A process that has torch and safetensors, and can import neither medseg nor MONAI."""
    torch_input = tmp_path / "input.npy"
    np.save(torch_input, seen[0].numpy())
    shutil.copytree(folder / "models", tmp_path / "models")
    shutil.copyfile(medseg.network.autoencoder.__file__, tmp_path / "lone_encoder.py")
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'medseg', 'monai', 'pydantic', 'yaml', 'nibabel', 'scipy'}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import numpy, torch
from lone_encoder import load_encoder
with torch.no_grad():
    numpy.save('output.npy', load_encoder('models')(torch.from_numpy(numpy.load('input.npy'))).numpy())
try:
    import medseg
except ModuleNotFoundError:
    print('alone')
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "alone", done.stderr[-2000:]
    assert_the_same(np.load(tmp_path / "output.npy"), seen)


def test_monai_makes_the_network_of_the_bundle(folder, seen, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "scripts", raising=False)
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser.read_meta(folder / "configs" / "metadata.json")
    parser["bundle_root"] = str(folder)
    parser["device"] = "cpu"
    network = parser.get_parsed_content("network")
    assert type(network).__module__ == "scripts.autoencoder"
    parser.get_parsed_content("initialize")
    inferer = parser.get_parsed_content("inferer")
    with torch.no_grad():
        assert_the_same(inferer(seen[0], network.eval()), seen)
    verify_net_in_out(
        "network_def",
        meta_file=str(folder / "configs" / "metadata.json"),
        config_file=str(folder / "configs" / "inference.json"),
        device="cpu",
        any=9,
    )


@pytest.mark.slow
def test_monai_runs_the_bundle(folder, seen, model, tmp_path):
    """`python -m monai.bundle run` in the folder: NIfTI of what the network sees -> NIfTI of latents."""
    for package in ("ignite", "fire"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"MONAI runs bundles with {package}, which is not here")
    home = shutil.copytree(folder, tmp_path / "bundle")
    image = medseg.network_input(model, phantom(GRIDS["thick"], noise=5.0)[0])
    SaveImage(home / "images", output_postfix="", separate_folder=False, resample=False)(
        image, meta_data={"filename_or_obj": "a.nii.gz"}
    )
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = (home / "latents").glob("*.nii.gz")
    found = load_nifti(path)
    np.testing.assert_allclose(found.affine, np.asarray(image.affine), atol=1e-4)
    assert_the_same(found.get_fdata(dtype=np.float32).transpose(3, 0, 1, 2)[None], seen)


def test_the_metadata_has_what_the_schema_asks_for(folder, model):
    """Keys and types that the MONAI bundle schema of 2024-07-25 requires."""
    facts = json.loads((folder / "configs" / "metadata.json").read_text())
    texts = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description",
             "authors", "copyright")  # fmt: skip
    assert all(isinstance(facts[name], str) and facts[name] for name in texts)
    assert isinstance(facts["required_packages_version"], dict)
    ends = facts["network_data_format"]
    for tensor in (ends["inputs"]["image"], ends["outputs"]["pred"]):
        assert {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"} <= set(tensor)
        assert len(tensor["channel_def"]) == tensor["num_channels"]
    assert ends["outputs"]["pred"]["num_channels"] == model.config.autoencoder.n_components


def test_a_second_export_replaces_the_first_with_the_same_bytes(model, folder, tmp_path):
    for _ in range(2):
        medseg.write_bundle(model, tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_folder_of_something_else_is_refused(model_folder, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["export", str(model_folder), "--out", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_readme_says_how_intensities_were_scaled(model, folder, tmp_path):
    ct = replace(model, plan=model.plan.model_copy(update={"modality": "CT", "window_hu": (-1000.0, 400.0)}))
    medseg.write_bundle(ct, tmp_path / "ct")
    assert "Hounsfield units from -1000 to 400 become 0 to 1" in (tmp_path / "ct" / "docs" / "README.md").read_text()
    assert "percentile 99.5" in (folder / "docs" / "README.md").read_text()


def test_without_an_installation_the_licence_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "distributions", lambda **_: [])
    medseg.write_bundle(model, tmp_path / "bundle")
    assert "Apache-2.0" in (tmp_path / "bundle" / "LICENSE").read_text()
