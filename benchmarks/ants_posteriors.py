"""Posteriors of Atropos of ANTs on one image, in an environment with antspyx; started by `benchmarks.confidence`.

ants_posteriors.py IMAGE MASK POSTERIORS N_CLASSES writes a 4-D file, classes in ascending intensity. The settings are
those of `ants_peers.py`.
"""

from __future__ import annotations

import sys

import ants
import numpy as np
from ants_peers import MRF


def main() -> None:
    """Segment one image."""
    source, mask_path, target, n_classes = sys.argv[1:]
    image, mask = ants.image_read(source), ants.image_read(mask_path)
    voxels, inside = image.numpy(), mask.numpy() > 0
    low, high = np.percentile(voxels[inside], [0.5, 99.5])
    image = image.new_image_like((np.clip(voxels, low, high) * inside).astype(np.float32))
    found = ants.atropos(a=image, x=mask, i=f"kmeans[{n_classes}]", m=f"[{MRF},1x1x1]", c="[5,0]")
    ants.image_write(ants.merge_channels(found["probabilityimages"]), target)


if __name__ == "__main__":
    main()
