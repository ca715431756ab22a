"""From a PACS and back: find series, segment each, store a DICOM segmentation beside it.

::

    python pipelines/pacs_round_trip.py https://pacs.example/dicom-web MODEL STUDY_UID

``medseg pacs`` does the same for many series, with a manifest, credentials, TLS and the classic protocol, and what a
server sends is worked on in processes of its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import medseg
from medseg.io.pacs.base import Credentials, Pacs, Query, Tls
from medseg.io.pacs.received import check_received


def pacs_round_trip(pacs: Pacs, query: Query, model: medseg.Model) -> int:
    """Segment every series that matches; returns the number of segmentations stored."""
    n_stored = 0
    for series in pacs.find(query).series:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "series").mkdir()
            n_files = pacs.fetch(series, folder / "series")
            check_received(folder / "series", series, n_files)
            for scan in medseg.find_scans(folder / "series"):
                if not scan.is_ok:
                    print(f"{scan.id}: {scan.reason}")
                    continue
                result = model.segment(medseg.read_scan(scan))
                path = folder / "segmentation.dcm"
                medseg.write_dicom_seg(result.labels, result.geometry, result.table, path, sources=scan.paths,
                                       model=model.fingerprint)  # fmt: skip
                pacs.store(path)
                n_stored += 1
    return n_stored


if __name__ == "__main__":
    from medseg.io.pacs.dicomweb import WebPacs

    url, model_dir, study = sys.argv[1:4]
    found = pacs_round_trip(WebPacs(url, Credentials(), Tls()), Query(study=study), medseg.Model.load(model_dir))
    print(f"{found} segmentations stored")
