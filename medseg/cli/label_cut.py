"""Outputs follow a cut of the hierarchy: from the finest labels where they were written, else by unions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.batch.outputs import Job
from medseg.errors import ConfigError
from medseg.io.label_volumes import read_labels
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import read_records
from medseg.model.segmentation import LabelArray
from medseg.spatial.chunks import look_up
from medseg.spatial.geometry import Geometry


def only_merged(before: Model, model: Model) -> bool:
    """Whether labels became parts of others at most: no other cut, and no merge undone by cutting again."""
    return before.scheme.cut == model.scheme.cut and set(before.scheme.merged) <= set(model.scheme.merged)


def check_can_follow(out: Path, before: Model, model: Model) -> None:
    """Refuse, before anything is changed, a cut that the label volumes of a folder do not hold.

    Raises:
        ConfigError: labels would have to be divided, and the finest ones were not written.
    """
    if only_merged(before, model):
        return
    for record in read_records(out):
        finest = Job.of(out, record.job).path(record.scan, Output.FINEST)
        if record.is_done and not finest.is_file() and _unions(before, model) is None:
            raise ConfigError(
                f"{out}: {record.scan} was written with {len(before.table)} labels, of which {len(model.table)} are "
                "no unions; segment it again with --write nifti,finest"
            )


def labels_after(job: Job, scan_id: str, before: Model, model: Model) -> tuple[LabelArray, Geometry]:
    """The labels that a scan has under the changed model, from what the model `before` wrote of it."""
    labels, geometry = read_labels(job.path(scan_id, Output.NIFTI))
    if only_merged(before, model):
        return model.scheme.merge(labels), geometry
    finest = job.path(scan_id, Output.FINEST)
    if finest.is_file():
        leaves, geometry = read_labels(finest)
        return model.scheme.apply(leaves, leaves), geometry
    unions = _unions(before, model)
    if unions is None:
        raise ConfigError(f"{job.out}: {scan_id} cannot follow the cut; segment it again with --write nifti,finest")
    lookup = np.zeros(max(int(labels.max()), *unions) + 1, dtype=np.int64)
    lookup[list(unions)] = list(unions.values())
    return model.scheme.merge(look_up(lookup, labels)), geometry


def _unions(before: Model, model: Model) -> dict[int, int] | None:
    """Old label -> new label; None when an old one would have to be divided."""
    found = {}
    new = model.scheme.leaves
    for number, leaves in before.scheme.leaves.items():
        home = next((other for other, parts in new.items() if set(leaves) <= set(parts)), None)
        if home is None:
            return None
        found[number] = home
    return found
