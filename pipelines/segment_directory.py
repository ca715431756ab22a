"""Label every scan of a directory, without labels to learn from: the whole of medseg from Python.

::

    python pipelines/segment_directory.py SCANS OUT [CONFIG]

Writes ``OUT/model`` and, for each scan, ``<scan>.seg.nrrd`` (open this in 3D Slicer) and ``<scan>_seg.nii.gz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import medseg


def segment_directory(scans: Path, out: Path, config: str = "generic") -> list[Path]:
    """Fit one model to all scans, label each of them; a scan that cannot be used is named and left out."""
    usable = []
    for scan in medseg.find_scans(scans):
        if scan.is_ok:
            usable.append(scan)
        else:
            print(f"{scan.id}: {scan.reason}")
    model = medseg.Model.fit(usable, medseg.load_config(config))
    model.save(out / "model")
    written = []
    for scan in usable:
        result = model.segment(medseg.read_scan(scan))
        path = out / f"{scan.id}.seg.nrrd"
        medseg.write_seg_nrrd(result.labels, result.geometry, result.table, path)
        medseg.write_labels(result.labels, result.geometry, out / f"{scan.id}_seg.nii.gz")
        written.append(path)
    return written


if __name__ == "__main__":
    for file in segment_directory(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4]):
        print(file)
