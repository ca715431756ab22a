"""Run inside a real Orthanc (see test_pacs.py): push a series, `medseg pacs` both ways, compare what it stored.

usage: orthanc_round_trip.py SERIES MODEL WORK
"""

from __future__ import annotations

import json
import sys
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

from medseg import read_dicom_seg, read_labels
from medseg.cli.main import main

REST = "http://127.0.0.1:18042"
SERVERS = {
    "dicomweb": ["--dicomweb", f"{REST}/dicom-web"],
    "dimse": ["--dimse", "ORTHANC@127.0.0.1:14242"],
}


def rest(path: str, data: bytes | None = None, method: str | None = None) -> bytes:
    request = urllib.request.Request(f"{REST}{path}", data=data, method=method)
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def stored() -> dict[str, pydicom.Dataset]:
    """Every instance in the PACS that is no MR image, by Orthanc's id."""
    every = {name: rest(f"/instances/{name}/file") for name in json.loads(rest("/instances"))}
    found = {name: pydicom.dcmread(BytesIO(content)) for name, content in every.items()}
    return {name: dataset for name, dataset in found.items() if dataset.Modality != "MR"}


def run(route: str, series: Path, model: Path, work: Path) -> dict[str, object]:
    """One route: what `medseg pacs` says and what is in the PACS afterwards."""
    out = work / route
    uid = pydicom.dcmread(next(series.glob("*.dcm"))).StudyInstanceUID
    words = ["pacs", *SERVERS[route], "--patient", "PHANTOM", "--modality", "MR", "--date", "20251231-20260102",
             "--study", str(uid), "--model", str(model), "--out", str(out), "--device", "cpu"]  # fmt: skip
    codes = [main(words)]
    (segmentation,) = stored().values()
    segmentation.save_as(work / f"{route}.dcm")
    labels, geometry = read_labels(next(out.glob("*_seg.nii.gz")))
    found, grid = read_dicom_seg(work / f"{route}.dcm")
    codes.append(main(words))
    again = stored()
    for name in again:
        rest(f"/instances/{name}", method="DELETE")
    nobody = ["pacs", *SERVERS[route], "--patient", "NOBODY", "--model", str(model), "--out", str(work / "nobody")]
    return {
        "codes": codes,
        "equal": bool(np.array_equal(labels, found) and grid.is_close(geometry, 1e-3) and labels.any()),
        "class": str(segmentation.SOPClassUID),
        "name": str(segmentation.PatientName),
        "segmentations": len(again),
        "left": sorted(
            path.name
            for path in (out / ".medseg").iterdir()
            if path.suffix != ".json" and path.name not in {"lock", "busy"}
        ),
        "nobody": main(nobody),
    }


if __name__ == "__main__":
    pushed, model_folder, work_folder = map(Path, sys.argv[1:])
    for file in sorted(pushed.glob("*.dcm")):
        rest("/instances", file.read_bytes())
    print(json.dumps({route: run(route, pushed, model_folder, work_folder) for route in SERVERS}))
