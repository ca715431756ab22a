"""The trained encoder for other programs: a folder laid out as a MONAI bundle, runnable without medseg.

Layout and metadata follow the MONAI Bundle Specification (docs.monai.io, "MONAI Bundle Specification") and its
schema of 2024-07-25, with one difference: weights are safetensors, never the pickled ``model.pt``.
"""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.io.atomic import whole_folder
from medseg.model.segment import with_foreground
from medseg.model.state import ModelState
from medseg.network.autoencoder import EncoderSize, save_encoder
from medseg.version import __version__

METADATA = "configs/metadata.json"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
PAPER = "Laine et al., High-quality self-supervised deep image denoising, NeurIPS 2019"
_SHORT_LICENCE = "scripts/autoencoder.py: Apache-2.0, see https://www.apache.org/licenses/LICENSE-2.0\n"


def write_bundle(model: ModelState, folder: Path | str) -> None:
    """Write the encoder of `model` as a bundle, whole or not at all; an older bundle there is replaced.

    ``models/encoder.safetensors`` and ``encoder.json`` are what ``scripts/autoencoder.py``, a copy of
    `medseg.network.autoencoder`, loads by itself; ``configs/inference.json`` is what MONAI runs.

    Raises:
        ConfigError: `folder` holds something else.
    """
    from medseg.network import autoencoder

    with whole_folder(Path(folder), marker=METADATA) as temporary:
        for name in ("configs", "models", "scripts", "docs"):
            (temporary / name).mkdir()
        size = save_encoder(model.network, temporary / "models")
        shutil.copyfile(str(autoencoder.__file__), temporary / "scripts" / "autoencoder.py")
        texts = {
            METADATA: _as_json(_metadata(model, size)),
            "configs/inference.json": _as_json(_inference(size)),
            "scripts/__init__.py": "",
            "docs/README.md": _readme(model, size),
            "LICENSE": _licence(),
        }
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")


def network_input(model: ModelState, image: MetaTensor, mask: MetaTensor | None = None) -> MetaTensor:
    """What the network sees of a native (C, I, J, K) image: (C + 1, I, J, K), its foreground last, working grid.

    Raises:
        InputError: there is no foreground, or nothing but one intensity in it.
    """
    prepared = model.prepare(*with_foreground(model, image, mask))
    both = torch.cat([prepared.network_image.as_tensor(), prepared.foreground.as_tensor()])
    return MetaTensor(both, affine=prepared.image.affine)


def _as_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def _metadata(model: ModelState, size: EncoderSize) -> dict[str, Any]:
    modality, names = model.plan.modality, model.config.channels.names or ["intensity"]
    grid = {"spatial_shape": ["*", "*", "*"], "dtype": "float32", "is_patch_data": False}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": modality,
        "num_channels": size.n_inputs + 1,
        **grid,
        "value_range": [0, 1],
        "channel_def": {
            **{str(number): f"{name}, as the network was trained on it" for number, name in enumerate(names)},
            str(size.n_inputs): "foreground, 0 or 1",
        },
    }
    latent = {
        "type": "image",
        "format": "latent",
        "num_channels": size.n_components,
        **grid,
        "value_range": [],
        "channel_def": {str(k): f"log p(component {k} | surroundings)" for k in range(size.n_components)},
    }
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by medseg {__version__} from model {model.fingerprint}"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {"safetensors": metadata.version("safetensors")},
        "name": f"medseg encoder, {modality}",
        "task": "Features of every voxel from its surroundings, learned without labels",
        "description": "Encoder of a 3D blind-spot autoencoder: the latent of a voxel is a categorical distribution "
        f"over {size.n_components} intensity components, given what lies around the voxel.",
        "authors": f"Trained with medseg {__version__} on {len(model.fingerprints)} scans",
        "copyright": "Weights: of whoever trained them; scripts/autoencoder.py: medseg, Apache-2.0",
        "intended_use": "Research only. Not a medical device.",
        "references": [PAPER],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": latent}},
    }


def _inference(size: EncoderSize) -> dict[str, Any]:
    """A workflow in MONAI's config language: every image of a folder to its latents."""
    save = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_postfix": "latent",
        "separate_folder": False,
        "resample": False,
    }
    return {
        "imports": ["$import glob", "$from safetensors.torch import load_file"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/latents'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "network_def": {"_target_": "scripts.autoencoder.Encoder", **size._asdict()},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": save,
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": ["$@network.load_state_dict(load_file(@bundle_root + '/models/encoder.safetensors'))"],
        "run": ["$@evaluator.run()"],
    }


def _readme(model: ModelState, size: EncoderSize) -> str:
    plan = model.plan
    names = ", ".join(model.config.channels.names) or "the intensity"
    spacing = " x ".join(f"{s:g}" for s in plan.spacing_mm)
    if plan.window_hu is not None:
        scale = f"Hounsfield units from {plan.window_hu[0]:g} to {plan.window_hu[1]:g} become 0 to 1, clipped"
    else:
        scale = f"0 stays 0, percentile {plan.percentiles[1]:g} of the foreground becomes 1, clipped"
    if model.config.clustering.method == "per_scan":
        scale += "; shading is removed and the tissues' contrast brought to a common scale"
    return f"""# Encoder of a medseg model ({plan.modality})

Trained without labels on {len(model.fingerprints)} scans by medseg {__version__}; model {model.fingerprint}.
For research. Not a medical device.

- Input: (N, {size.n_inputs + 1}, I, J, K) float32, any size: {names}, then the foreground (0 or 1).
- Grid: axes in RAS order, voxels of about {spacing} mm.
- Intensity: {scale}.
- `medseg.network_input(model, image)` makes exactly this.
- Output: (N, {size.n_components}, I, J, K) log p(component | surroundings). The latent of a voxel does not depend on
  its own intensity (blind spot; {PAPER}).

With torch and safetensors only:

```python
from scripts.autoencoder import load_encoder

latents = load_encoder("models")(image)
```

With MONAI, pytorch-ignite and fire, for NIfTI files of {size.n_inputs + 1} channels in `images/`, from this folder:

```
python -m monai.bundle run --config_file configs/inference.json
```

`models/encoder.safetensors` takes the place of the pickled `model.pt` of other bundles.
"""


def _licence() -> str:
    """The licence of medseg, as one of its installations holds it."""
    texts = (found.read_text("licenses/LICENSE") for found in metadata.distributions(name="medseg"))
    return next((text for text in texts if text), _SHORT_LICENCE)
