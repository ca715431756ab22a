"""`medseg report`: one page with what was found, what was refused and why, every label and every scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.batch.label_tables import write_label_tables
from medseg.batch.outputs import Job, viewer_path
from medseg.batch.progress import bar, say
from medseg.batch.tables import locked
from medseg.errors import ConfigError, InputError
from medseg.io.label_volumes import read_labels
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.labels.table import LabelTable
from medseg.model.outputs import Output
from medseg.model.record import Record, read_record, read_records, write_record
from medseg.report.niivue import viewer
from medseg.report.outcome import read_outcome
from medseg.report.ratings import keep_ratings, kept_ratings, read_ratings
from medseg.report.viewer_volumes import viewer_grid, write_viewer_volume
from medseg.report.write import write_report
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

__all__ = ["add_viewer_volumes", "take_ratings", "write_report"]


def add_viewer_volumes(out: Path, scans: Sequence[Scan]) -> None:
    """Write the volumes that the viewer shows for every done scan of `out` that has none, without segmenting again.

    Raises:
        ConfigError: the viewer is not installed.
    """
    if viewer() is None:
        raise ConfigError('--scans: the viewer is not installed; run pip install --no-deps "ipyniivue>=2.4,<3" first')
    left = [scan for scan in scans if not viewer_path(out, scan.id).is_file()]
    with bar("viewer", len(left)) as progress:
        for n_done, scan in enumerate(left, start=1):
            try:
                _add_viewer_volume(out, scan)
            except InputError as error:
                say(f"{scan.id}: {error}")
            progress.advance(n_done)


def take_ratings(out: Path, path: Path) -> None:
    """Keep the ratings of a file beside the results `out`, with those that it has not; tables heed them.

    Raises:
        ConfigError: another file, or ratings of other scans.
    """
    outcome = read_outcome(out)
    with locked(out):
        known = frozenset(scan.name for scan in outcome.scans)
        keep_ratings(out, kept_ratings(out) | read_ratings(path), known)
        write_label_tables(out, read_records(out), LabelTable(labels=outcome.labels))


def _add_viewer_volume(out: Path, scan: Scan) -> None:
    record = read_record(out, scan.id)
    if record is None or not record.is_done:
        return
    labels_path = Job.of(out, record.job).path(scan.id, Output.NIFTI)
    if not labels_path.is_file():
        return
    image = read_scan(scan)
    labels, geometry = read_labels(labels_path)
    if not geometry.is_close(Geometry.of(image)):
        raise InputError("the scan lies on another grid than its labels; segment it again", code="other_grid")
    path = viewer_path(out, scan.id)
    write_viewer_volume(image, labels, path, _written_confidence(out, record))
    name = path.relative_to(out).as_posix()
    write_record(out, replace(record, outputs={**record.outputs, name: path.stat().st_size}))


def _written_confidence(out: Path, record: Record) -> MetaTensor | None:
    """(1, I, J, K) of 0..255 on the viewer's grid, where a run wrote the confidence."""
    path = Job.of(out, record.job).path(record.scan, Output.CONFIDENCE)
    if not path.is_file():
        return None
    shares = read_scan(path)
    found = resample(shares, viewer_grid(Geometry.of(shares)), "nearest")
    return MetaTensor((255 * found.as_tensor()).round().clamp(0, 255).to(torch.uint8), affine=found.affine)
