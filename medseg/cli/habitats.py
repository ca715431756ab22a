"""`--config habitats`: how stable each habitat is, and one row of figures for each case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.data.meta_tensor import MetaTensor

from medseg.batch.outputs import Job
from medseg.batch.progress import bar, say
from medseg.config import Config
from medseg.errors import ConfigError, InputError
from medseg.io.csv_table import write_csv
from medseg.io.label_volumes import read_labels
from medseg.io.mask_files import read_given_mask
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.model.habitats import Stability, habitat_stability, n_rounds_of
from medseg.model.model import Model
from medseg.model.outputs import Output
from medseg.model.record import Record
from medseg.preprocessing.foreground import foreground_of
from medseg.preprocessing.prepare import Prepared, channels_of

TABLE, STABILITY = "habitats.csv", "habitats_stability.csv"


def check_habitats(config: Config, job: Job) -> None:
    """Refuse, before any work, what habitats cannot be made of.

    Raises:
        ConfigError: no regions, or no label maps to measure.
    """
    if not config.habitats.is_asked:
        return
    if job.masks is None:
        raise ConfigError("--config with habitats: found no regions, expected --masks DIR with a mask for each scan")
    if Output.NIFTI not in job.outputs:
        found = ",".join(sorted(job.outputs))
        raise ConfigError(f"--write {found}: habitats are measured on the label maps; add nifti")


def judge_habitats(model: Model, folder: Path, scans: Sequence[Scan], job: Job) -> Model:
    """Find how stable the habitats are, write ``habitats_stability.csv``, and name them after it in the model folder.

    A model whose habitats were judged before is taken as it is.
    """
    if not model.config.habitats.is_asked or ((job.out / STABILITY).is_file() and all(x.verdict for x in model.table)):
        return model
    prepared = [item for item in (_prepared(model, scan, job) for scan in scans if scan.is_ok) if item]
    if not prepared:
        return model
    with bar("stability", n_rounds_of(model, len(prepared))) as progress:
        found = habitat_stability(model, prepared, progress.advance)
    write_stability(job.out / STABILITY, found)
    table = model.table
    for one in found:
        name = f"habitat {one.number}" + (" (unstable)" if one.verdict == "unstable" else "")
        table = table.replace(one.number, name=name, verdict=one.verdict)
        if one.verdict != "stable":
            say(f"habitat {one.number} is {one.verdict} (see {STABILITY}): do not report it as a finding")
    judged = model.relabelled(table, {})
    judged.save(folder)
    return judged


def _prepared(model: Model, scan: Scan, job: Job) -> Prepared | None:
    """The case on the working grid; None for one that was refused in training too."""
    try:
        image = read_scan(scan)
        return model.prepare(image, _region(image, scan, job))
    except InputError:
        return None


def _region(image: MetaTensor, scan: Scan, job: Job) -> MetaTensor:
    return foreground_of(image, read_given_mask(job.masks, scan, image).inside if job.masks else None)


def write_stability(path: Path, found: Sequence[Stability]) -> None:
    """One row a habitat: share of all voxels, cases, mean Jaccard indices, verdict."""
    rows: list[Sequence[object]] = [
        ("habitat", "share", "n_cases", "jaccard_over_seeds", "jaccard_over_cases", "verdict")
    ]
    for one in found:
        told = ["" if value is None else f"{value:.4f}" for value in (one.over_seeds, one.over_cases)]
        rows.append((one.number, f"{one.share:.4f}", one.n_cases, *told, one.verdict))
    write_csv(rows, path)


def write_habitats(model: Model, scans: Sequence[Scan], records: Sequence[Record], job: Job) -> None:
    """Write ``habitats.csv``: for every segmented case the fraction, volume and mean intensity of each habitat.

    Columns of an unstable habitat say so in their name. A habitat that a case lacks has fraction and volume 0 and no
    mean. Means are in the scan's own unit, and on the common scale on which the habitats were found; each further
    channel has its own, under its name.
    """
    if not model.config.habitats.is_asked:
        return
    done = {record.scan for record in records if record.is_done}
    names = {
        label.number: f"h{label.number}" + ("_unstable" if label.verdict == "unstable" else "") for label in model.table
    }
    others = [f"_{re.sub('[^A-Za-z0-9]+', '', name)}" for name in model.config.channels.names[1:]]
    kinds = ["fraction", "mm3", *(f"{kind}{channel}" for channel in ("", *others) for kind in ("mean", "mean_common"))]
    rows: list[Sequence[object]] = [
        ("scan", "n_voxels", "volume_mm3", *(f"{name}_{kind}" for name in names.values() for kind in kinds))
    ]
    rows += [_row(model, scan, job, list(names)) for scan in scans if scan.id in done]
    write_csv(rows, job.out / TABLE)


def _row(model: Model, scan: Scan, job: Job, numbers: Sequence[int]) -> list[object]:
    image = read_scan(scan)
    labels, geometry = read_labels(job.path(scan.id, Output.NIFTI))
    region = _region(image, scan, job)
    channels = [(x.as_tensor()[0].numpy(), *model.plan.intensity_range(x, region)) for x in channels_of(image)]
    total = int((labels > 0).sum())
    row: list[object] = [scan.id, total, f"{total * geometry.voxel_volume_mm3:.1f}"]
    for number in numbers:
        here = labels == number
        n_voxels = int(here.sum())
        row += [f"{n_voxels / max(total, 1):.5f}", f"{n_voxels * geometry.voxel_volume_mm3:.1f}"]
        for values, low, high in channels:
            mean = float(np.mean(values[here])) if n_voxels else None
            row += ["", ""] if mean is None else [f"{mean:.6g}", f"{(mean - low) / (high - low):.5f}"]
    return row
