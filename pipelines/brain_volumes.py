"""Volumes of cerebrospinal fluid, grey and white matter of skull-stripped T1 brains, partial volumes counted.

::

    python pipelines/brain_volumes.py SCANS volumes.csv [a.b=value ...]
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import medseg

TISSUES = {1: "csf", 2: "grey_matter", 3: "white_matter"}
"""Labels of `brain_t1` ascend with the intensity in T1."""


def brain_volumes(scans: Path, table: Path, changes: Sequence[str] = ()) -> list[dict[str, object]]:
    """One row a scan: ml of each tissue, and its share of the three together."""
    usable = [scan for scan in medseg.find_scans(scans) if scan.is_ok]
    model = medseg.Model.fit(usable, medseg.load_config("brain_t1", changes))
    rows = []
    for scan in usable:
        result = model.segment(medseg.read_scan(scan), outputs={"fractions"})
        if result.fractions is None:
            raise TypeError("no fractions, though they were asked for")
        whole_ml = result.geometry.voxel_volume_mm3 / 1000 / 255
        ml = {name: float(result.fractions[n].sum(dtype="float64")) * whole_ml for n, name in TISSUES.items()}
        shares = {f"{name}_share": round(volume / sum(ml.values()), 4) for name, volume in ml.items()}
        rows.append({"scan": scan.id, **{f"{name}_ml": round(v, 2) for name, v in ml.items()}, **shares})
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


if __name__ == "__main__":
    for row in brain_volumes(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]):
        print(row)
