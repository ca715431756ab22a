"""What a lesion does to the labels of the healthy tissue around it: `python -m benchmarks.lesions`.

Balls of one intensity in the white matter of an MNI152 phantom at 2 mm, which was not in the fit. Dice of the tissues
in a shell around the ball, with and without it, for several widths of the local means.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from benchmarks.anomaly import LESIONS, Bools, planted
from benchmarks.quality_control import coarse
from medseg import Model, load_config
from medseg.clustering.per_scan import ScanTissues
from medseg.model.segmentation import LabelArray
from sample_data.benchmark_phantoms import INTENSITIES, mni_phantom

RADII_MM = (10.0, 20.0)
SHELL_MM = 15.0
WIDTHS_MM = (6.0, 20.0, None)


def with_width(model: Model, local_sigma_mm: float | None) -> Model:
    """The same network with local means of another width."""
    clustering = model.config.clustering.model_copy(update={"local_sigma_mm": local_sigma_mm})
    config = model.config.model_copy(update={"clustering": clustering})
    return replace(model, config=config, clusters=ScanTissues(clustering))


def shell_dice(model: Model, image: MetaTensor, truth: LabelArray, shell: Bools) -> float:
    """Mean Dice of the three tissues inside the shell."""
    found = model.segment(image).labels[shell]
    known = truth[shell]
    both = [2 * ((found == k) & (known == k)).sum() / ((found == k).sum() + (known == k).sum()) for k in (1, 2, 3)]
    return float(np.mean(both))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    args = parser.parse_args()
    files = [mni_phantom(args.out / "phantoms", 5, 20, seed) for seed in (0, 1)]
    fitted = Model.fit([coarse(files[0][0])], load_config("brain_t1", ["training.max_steps=80"]), device="cpu")
    image, truth = coarse(files[1][0]), coarse(files[1][1]).as_tensor()[0].numpy().astype(np.uint8)
    spacing = abs(float(np.asarray(image.affine)[0, 0]))
    models = {width: with_width(fitted, width) for width in WIDTHS_MM}
    print("| lesion | radius | " + " | ".join(f"local_sigma_mm {width}: without, with" for width in WIDTHS_MM) + " |")
    print("|---" * (2 + len(models)) + "|")
    for name, value in LESIONS.items():
        for radius in RADII_MM:
            changed, lesion = planted(image, truth, value, 5 / 100 * INTENSITIES[-1], radius)
            away = ndimage.distance_transform_edt(~lesion) * spacing
            shell = (away > 0) & (away <= SHELL_MM) & (truth > 0)
            pairs = [[shell_dice(model, scan, truth, shell) for scan in (image, changed)] for model in models.values()]
            cells = " | ".join(f"{before:.3f} {after:.3f}" for before, after in pairs)
            print(f"| {name} | {radius:g} mm | {cells} |", flush=True)


if __name__ == "__main__":
    main()
