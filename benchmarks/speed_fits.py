"""Where the seconds of a fit go, stage by stage, on real sets; then of one scan, with all maps and without.

``python -m benchmarks.speed_fits`` (``--sets gliomas chests`` for some). The heads are phantoms of the size of hospital
scans, 512x512x24. Run with another state of the package before it on the path, it measures that one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from monai.data.meta_tensor import MetaTensor

from benchmarks.general_cohorts import Cohort, ct_chest, ct_trunk, gliomas
from benchmarks.table import machine
from medseg import Model, find_scans, load_config, read_scan
from medseg.errors import InputError
from medseg.io.read import read_mask
from medseg.io.scan import Scan
from medseg.model.cohort import Watch
from medseg.model.outputs import Output
from medseg.spatial.geometry import Geometry
from sample_data.heads import head

N_HEADS = 16
MAPS = (Output.CONFIDENCE, Output.FRACTIONS)


class Set(NamedTuple):
    """Scans that are fitted together: files and their masks, or images in hand."""

    config: str
    changes: Sequence[str]
    scans: Sequence[Scan | MetaTensor]
    masks: dict[Path, Path | None]


def _of(cohort: Cohort) -> Set:
    config = load_config(cohort.config, cohort.changes)
    cases = cohort.folds[0][0]
    scans = [cohort.scan(case, config) for case in cases]
    return Set(cohort.config, cohort.changes, scans, {case.scan: case.mask for case in cases})


def _brains(shared: Path) -> Set:
    scans = [scan for scan in find_scans(shared / "brain_t1_ibsr18") if "T1w" in scan.id][:10]
    return Set("brain_t1", (), scans, {})


def _heads(_shared: Path) -> Set:
    affine = np.diag([0.45, 0.45, 7.0, 1.0])
    affine[:3, 3] = -115, -115, -84
    return Set("generic", (), [head(Geometry((512, 512, 24), affine), seed=n)[0] for n in range(N_HEADS)], {})


SETS: dict[str, Callable[[Path], Set]] = {
    "gliomas": lambda shared: _of(gliomas(shared)),
    "chests": lambda shared: _of(ct_chest(shared)),
    "trunk": lambda shared: _of(ct_trunk(shared)),
    "brains": _brains,
    "heads": _heads,
}


class Timed(NamedTuple):
    """Seconds of a fit by stage, of the whole, of all processors together, and of one scan without and with maps."""

    stages: dict[str, float]
    whole: float
    processor: float
    scan: float
    with_maps: float


def measured(chosen: Set, folder: Path, k: int) -> Timed:
    """Fit, then segment the first scan twice: without maps, and with the anomaly map, confidence and fractions."""
    changes = [*chosen.changes, *([] if chosen.config == "brain_t1" else [f"clustering.n_clusters={k}"])]
    starts = [("start", time.perf_counter())]
    watch = Watch(on_stage=lambda stage: starts.append((stage, time.perf_counter())))
    processor = time.process_time()
    config = load_config(chosen.config, changes)

    def mask_of(scan: object) -> Path | None:
        return chosen.masks.get(scan.path) if isinstance(scan, Scan) else None

    model = Model.fit(chosen.scans, config, masks=mask_of, watch=watch)
    ends = [*[at for _, at in starts[1:]], time.perf_counter()]
    stages = {stage: end - at for (stage, at), end in zip(starts, ends, strict=True)}
    processor = time.process_time() - processor
    model.save(folder / f"model{len(list(folder.iterdir()))}")
    first = chosen.scans[0]
    image = read_scan(first) if isinstance(first, Scan) else first
    path = mask_of(first)
    mask = None if path is None else read_mask(path, Geometry.of(image))
    turns = [time.perf_counter()]
    model.segment(image, mask)
    turns.append(time.perf_counter())
    model.segment(image, mask, outputs=MAPS)
    with suppress(InputError):  # a body that has no mirrored side
        model.anomaly(image, mask)
    turns.append(time.perf_counter())
    return Timed(stages, ends[-1] - starts[0][1], processor, turns[1] - turns[0], turns[2] - turns[1])


def main() -> None:
    """One line a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--labels", type=int, default=8)
    options = parser.parse_args()
    print(machine())
    print("| set | fit, s | all processors, s | stages, s | a scan, s | with anomaly, confidence, fractions, s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            found = measured(SETS[name](options.shared), Path(folder), options.labels)
            stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found.stages.items())
            print(f"| {name} | {found.whole:.1f} | {found.processor:.1f} | {stages} | {found.scan:.1f} "
                  f"| {found.with_maps:.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
