"""Habitats of tumours: clusters inside given regions over all cases, and which of them would be found again.

::

    python pipelines/tumour_habitats.py SCANS REGIONS [a.b=value ...]

``REGIONS/<scan>.nii.gz`` is the region of each scan. ``medseg run --config habitats`` does the same and writes maps,
tables and a report.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import medseg
from medseg.io.read import read_mask
from medseg.model.habitats import Stability, habitat_stability


def tumour_habitats(scans: Path, regions: Path, changes: Sequence[str] = ()) -> list[Stability]:
    """Fit habitats to all cases and repeat it with other seeds and other cases."""
    usable = [scan for scan in medseg.find_scans(scans) if scan.is_ok]
    paths = {scan.id: regions / f"{scan.id}.nii.gz" for scan in usable}
    model = medseg.Model.fit(usable, medseg.load_config("habitats", changes), masks=lambda scan: paths[scan.id])
    prepared = []
    for scan in usable:
        image = medseg.read_scan(scan)
        prepared.append(model.prepare(image, read_mask(paths[scan.id], medseg.Geometry.of(image))))
    return habitat_stability(model, prepared)


if __name__ == "__main__":
    for habitat in tumour_habitats(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]):
        print(f"habitat {habitat.number}: {100 * habitat.share:.1f} % of all voxels, {habitat.verdict}")
