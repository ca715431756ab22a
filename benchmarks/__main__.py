"""`python -m benchmarks PART...`: train, segment and score on the scans beside the project.

Every part prints one line of the table: set, K, seed, Dice of each class, mean, worst scan, seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.sets import SETS, Part
from medseg import Model, load_config, read_scan
from medseg.evaluation import Pair, evaluate
from medseg.geometry import Geometry
from medseg.io.labels import write_labels
from medseg.io.read import read_mask
from medseg.metrics import Evaluation
from medseg.report.mosaic import write_mosaic


def run(part: Part, out: Path, seed: int, changes: Sequence[str]) -> Evaluation:
    """Fit on each fold's scans, segment and score its others, with one mapping a model."""
    config = load_config(part.config, [f"training.seed={seed}", *part.changes, *changes])
    pairs, fit_seconds, scan_seconds = [], 0.0, []
    results = []
    for number, (fit, score) in enumerate(part.folds()):
        started = time.monotonic()
        masks = {str(case.scan): case.mask for case in (*fit, *score)}
        model = Model.fit([case.scan for case in fit], config, masks=lambda scan, masks=masks: masks[str(scan)])
        fit_seconds += time.monotonic() - started
        for case in score:
            started = time.monotonic()
            image = read_scan(case.scan)
            mask = read_mask(case.mask, Geometry.of(image)) if case.mask else None
            result = model.segment(image, mask)
            path = out / part.name / f"seed{seed}" / f"{case.name}_seg.nii.gz"
            write_labels(result.labels, result.geometry, path)
            scan_seconds.append(time.monotonic() - started)
            write_mosaic(image, result, path.with_name(f"{case.name}.png"), title=f"{part.name} {case.name}")
            truth = case.read_truth()
            labels = result.labels if part.inside else result.labels.astype(np.int32) + 1
            inside = truth > 0 if mask is None else (truth > 0) & (mask.as_tensor()[0].numpy() > 0)
            pairs.append(Pair(case.name, labels, truth, inside, result.geometry.spacing_mm))
        results.append((number, evaluate(pairs, how=part.how, classes=part.classes, tolerance_mm=None)))
        if part.separate_folds:
            pairs = []
    report(part, results, seed, fit_seconds / len(results), float(np.mean(scan_seconds)))
    return results[-1][1]


def report(
    part: Part, results: list[tuple[int, Evaluation]], seed: int, fit_seconds: float, scan_seconds: float
) -> None:
    """Print the rows of the table."""
    shown = results if part.separate_folds else results[-1:]
    scans = [scan for _, result in shown for scan in result.scans]
    classes = list(scans[0].classes)
    means = [float(np.nanmean([scan.classes[c].dice for scan in scans])) for c in classes]
    each = [scan.dice for scan in scans]
    for scan in scans:
        print(f"  {scan.name:28s} " + " ".join(f"{scan.classes[c].dice:.4f}" for c in classes))
    figures = " ".join(f"{c}:{m:.4f}" for c, m in zip(classes, means, strict=True))
    print(
        f"| {part.name} | {part.config} | K={shown[-1][1].n_labels} | seed {seed} | {figures} "
        f"| mean {np.mean(each):.4f} | worst {min(each):.4f} | median-worst {np.median(each) - min(each):.4f} "
        f"| fit {fit_seconds:.0f} s | scan {scan_seconds:.1f} s |",
        flush=True,
    )


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(SETS))
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], help="a.b=value, on top of the config")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name in args.parts or SETS:
        make: Callable[[Path, Path], Part] = SETS[name]
        for seed in args.seeds:
            run(make(args.shared, args.out), args.out, seed, args.set)


if __name__ == "__main__":
    main()
