"""medseg itself on one part: fit on each fold's scans, segment and score its others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.scoring import Costs, Row, load, masks_of, pair_of, score
from benchmarks.sets import Case, Part
from medseg import Model, load_config
from medseg.batch.resources import forget_peak_memory
from medseg.evaluation.evaluate import Pair
from medseg.io.label_volumes import write_labels
from medseg.network.loss import loss as likelihood
from medseg.network.training import Loss
from medseg.report.mosaic import write_mosaic
from medseg.report.slices import cut_slices

Change = Callable[[Model], Model]


def run(
    part: Part,
    out: Path,
    seed: int,
    changes: Sequence[str] = (),
    *,
    method: str = "medseg",
    objective: Loss = likelihood,
    change: Change = lambda model: model,
) -> Row:
    """Fit, segment, score.

    Args:
        out: label volumes and mosaics go below it, to part/method/seed.
        changes: ``a.b=value`` on top of the part's config.
        change: what is done to the fitted model before it segments (ablations).
    """
    config = load_config(part.config, [f"training.seed={seed}", *part.changes, *changes])
    costs, folds, fitted_on, seen = Costs(), [], [], set()
    forget_peak_memory()
    for fit, scored in part.folds():
        with costs.timed(costs.fits):
            model = Model.fit([c.scan for c in fit], config, masks=masks_of(fit), objective=objective)
        model = change(model)
        fitted_on += [case.name for case in fit]
        seen |= {case.name for case in fit} & {case.name for case in scored}
        folds.append([_segment(model, case, part, out / part.name / method / f"seed{seed}", costs) for case in scored])
    if not part.separate_folds:
        folds = [[pair for fold in folds for pair in fold]]
    scans = score(part, folds, per_scan=False)
    setting = " ".join([part.config, *part.changes, *changes])
    n_labels, names = config.clustering.n_clusters, tuple(dict.fromkeys(fitted_on))
    return Row(part.name, method, setting, seed, n_labels, names, frozenset(seen), scans, costs)


def _segment(model: Model, case: Case, part: Part, folder: Path, costs: Costs) -> Pair:
    with costs.timed(costs.scans):
        image, mask = load(case)
        result = model.segment(image, mask)
        write_labels(result.labels, result.geometry, folder / f"{case.name}_seg.nii.gz")
    picture = folder / f"{case.name}.png"
    write_mosaic(cut_slices(image, result), result.table, picture, title=f"{part.name} {case.name}")
    return pair_of(case, result.labels, image, mask, part)
