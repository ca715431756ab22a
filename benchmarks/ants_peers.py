"""Atropos or N4 + Atropos of ANTs on one image, in an environment with antspyx; started by `benchmarks.baselines`.

ants_peers.py IMAGE MASK LABELS N_CLASSES METHOD prints the seconds of the call (reading and writing left out) and the
peak of resident memory in GB. Intensities are clipped at the 0.5 and 99.5 percentiles: Atropos collapses on some
images without it.
"""

from __future__ import annotations

import resource
import sys
import time

import ants
import numpy as np

MRF = 0.1


def main() -> None:
    """Segment one image."""
    source, mask_path, target, n_classes, method = sys.argv[1:]
    image, mask = ants.image_read(source), ants.image_read(mask_path)
    voxels, inside = image.numpy(), mask.numpy() > 0
    low, high = np.percentile(voxels[inside], [0.5, 99.5])
    image = image.new_image_like((np.clip(voxels, low, high) * inside).astype(np.float32))
    started = time.perf_counter()
    if method.startswith("N4"):
        image = ants.n4_bias_field_correction(image, mask=mask, shrink_factor=3)
    found = ants.atropos(a=image, x=mask, i=f"kmeans[{n_classes}]", m=f"[{MRF},1x1x1]", c="[5,0]")
    seconds = time.perf_counter() - started
    ants.image_write(found["segmentation"], target)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


if __name__ == "__main__":
    main()
