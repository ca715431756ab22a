"""`medseg figure`: the scan and the labels of one scan of an output folder, for `report.figure`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai.data.meta_tensor import MetaTensor

from medseg.batch.outputs import Job
from medseg.errors import ConfigError
from medseg.io.label_volumes import read_labels
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.labels.table import LabelTable
from medseg.model.outputs import Output
from medseg.model.record import read_record
from medseg.model.segmentation import LabelArray
from medseg.preprocessing.prepare import channels_of
from medseg.report.outcome import read_outcome
from medseg.spatial.geometry import Geometry


@dataclass(frozen=True)
class Shown:
    """A native (1, I, J, K) image, its (I, J, K) labels, and what they are called."""

    image: MetaTensor
    labels: LabelArray
    table: LabelTable


def shown_scan(out: Path, name: str, scans: Sequence[Scan]) -> Shown:
    """What a figure of the scan `name` of `out` is drawn from; the scan itself is found among `scans`.

    Raises:
        ConfigError: no such scan, without label map, or lying on another grid than its labels.
        InputError: the scan cannot be read.
    """
    outcome = read_outcome(out)
    record = read_record(out, name)
    if record is None or not record.is_done:
        known = [scan.name for scan in outcome.scans if scan.is_done]
        raise ConfigError(f"--scan {name}: found no labels of it in {out}, expected one of {', '.join(known[:20])}")
    path = Job.of(out, record.job).path(name, Output.NIFTI)
    if not path.is_file():
        raise ConfigError(f"--scan {name}: its label map is gone; segment it again with --write nifti")
    found = [scan for scan in scans if scan.id == name]
    if not found:
        raise ConfigError(f"--scans: found no scan {name} among {len(scans)}, expected it; give the scans of the run")
    labels, geometry = read_labels(path)
    image = channels_of(read_scan(found[0]))[0]
    if not geometry.is_close(Geometry.of(image)):
        raise ConfigError(f"--scan {name}: it lies on another grid than its labels; segment it again")
    return Shown(image, labels, LabelTable(labels=outcome.labels))
