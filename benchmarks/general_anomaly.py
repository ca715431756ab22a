"""Anomaly maps in `benchmarks.general`, beside the smoothed intensity of the channel that shows the lesions best."""

from __future__ import annotations

import time
from collections.abc import Iterator

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks import general_cohorts
from benchmarks.anomaly import save
from benchmarks.general_cohorts import Cohort
from benchmarks.general_fits import Fitted, read
from benchmarks.general_rows import Goal, Row
from benchmarks.general_run import Run, told
from benchmarks.general_scores import Bools, Floats, average_precision
from benchmarks.sets import Case
from medseg import Geometry
from medseg.io.atomic import whole_file

N_LABELS = 6
"""Labels of the fit, so that the gliomas share one with the whole tumour's row; the map does not depend on it."""
SIGMAS_MM = (0.0, 1.0, 2.0)


def anomaly(run: Run) -> Iterator[Row]:
    """Gliomas and lesions of multiple sclerosis: average precision inside the mask."""
    if not run.is_asked(N_LABELS):
        return
    yield _row(run, general_cohorts.gliomas(run.shared), "whole tumour, anomaly map", Goal(0.815))
    yield _row(run, general_cohorts.multiple_sclerosis(run.shared), "lesions, anomaly map", Goal(0.184))


def _row(run: Run, cohort: Cohort, what: str, goal: Goal) -> Row:
    fitted = run.fits.fitted(cohort, None if run.setting.cuts else N_LABELS, run.setting)
    cases = cohort.scored
    found, seconds = zip(*(_precision(run, cohort, case, fitted) for case in cases), strict=True)
    names, setting = [case.name for case in cases], run.setting
    return Row(
        cohort.name, what, N_LABELS, float(np.mean(found)), intensity(cohort), goal, fitted.seconds,
        float(np.mean(seconds)), setting.variant, setting.seed, detail=told(names, found),
    )  # fmt: skip


def _precision(run: Run, cohort: Cohort, case: Case, fitted: Fitted) -> tuple[float, float]:
    """Average precision of one scan's map, and the seconds that reading and map took; writes map and picture."""
    started = time.monotonic()
    image, mask = read(cohort, case, fitted.models[0])
    found = fitted.models[0].anomaly(image, mask).as_tensor()[0].cpu().numpy()
    seconds = time.monotonic() - started
    lesion, inside = case.read_truth() > 0, _inside(case)
    variant = f"{run.setting.variant.replace(' ', '_')}_seed{run.setting.seed}"
    file = run.out / "maps" / cohort.name / variant / f"{case.name}_anomaly.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        nib.save(nib.Nifti1Image(found, Geometry.of(image).affine), temporary)
    slab = int(lesion.sum(axis=(0, 1)).argmax())
    picture = run.out / "pictures" / f"{cohort.name}_{case.name}_anomaly_{variant}.png"
    save([image.as_tensor()[0].numpy(), found, lesion], slab, picture)
    return average_precision(found, lesion, inside), seconds


def intensity(cohort: Cohort) -> dict[str, float]:
    """The best mean average precision of one channel's intensity, smoothed by 0, 1 or 2 mm, under its name."""
    found: dict[str, list[float]] = {}
    for case in cohort.scored:
        lesion, inside = case.read_truth() > 0, _inside(case)
        for channel, path in zip(cohort.channels, cohort.files(case), strict=True):
            image = nib.Nifti1Image.from_filename(path)
            spacing = image.header.get_zooms()[:3]
            for sigma in SIGMAS_MM:
                smooth = smoothed(image.get_fdata(dtype=np.float32), inside, [sigma / step for step in spacing])
                name = f"{channel}, {sigma:g} mm"
                found.setdefault(name, []).append(average_precision(smooth, lesion, inside))
    best = max(found, key=lambda name: float(np.mean(found[name])))
    return {best: float(np.mean(found[best]))}


def smoothed(voxels: Floats, inside: Bools, sigma: list[float]) -> Floats:
    """Voxels inside the mask, smoothed without those outside, as in `structures.py`; `sigma` in voxels."""
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    return np.asarray(ndimage.gaussian_filter(voxels * inside, sigma) / np.maximum(weight, 1e-3))


def _inside(case: Case) -> Bools:
    """The mask of a scan."""
    if case.mask is None:
        raise ValueError(f"{case.name} has no mask, expected one; anomaly maps are scored inside it")
    return np.asarray(nib.Nifti1Image.from_filename(case.mask).dataobj) > 0
