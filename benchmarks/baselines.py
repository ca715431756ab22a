"""What a user would take instead, on each image alone: k-means, EM with a bias field, Atropos (`ants_peers.py`)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from sklearn.cluster import KMeans

from benchmarks.scoring import Costs, Row, load, pair_of, score
from benchmarks.sets import Case, Part
from medseg.batch.resources import forget_peak_memory
from medseg.evaluation.evaluate import Pair
from medseg.io.atomic import whole_file
from medseg.preprocessing.histogram import Histogram, gaussian_em
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.tissues.bias import estimate_bias

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Baseline = Callable[[MetaTensor, Mask, int], Labels]
ROUNDS = 12
"""EM rounds after the field; chosen in favour of this baseline: to convergence it loses up to .04."""
ANTS = Path(__file__).with_name("ants_peers.py")


def kmeans(image: MetaTensor, inside: Mask, n_labels: int) -> Labels:
    """k-means on the intensity of the voxels inside, labels in ascending intensity."""
    values = image.as_tensor()[0].numpy()[inside][:, None]
    sample = values[:: max(1, len(values) // 60_000)]
    model = KMeans(n_labels, n_init=5, random_state=0).fit(sample)
    order = np.argsort(np.argsort(model.cluster_centers_[:, 0]))
    labels = np.zeros(inside.shape, dtype=np.uint8)
    labels[inside] = order[model.predict(values)] + 1
    return labels


def em_with_bias(image: MetaTensor, inside: Mask, n_labels: int) -> Labels:
    """Gaussian mixture with free variances and a smooth bias field, by EM (Wells 1996); no neighbourhood at all."""
    foreground = MetaTensor(torch.from_numpy(inside[None].astype(np.float32)), affine=image.affine)
    field = estimate_bias(image, foreground, n_tissues=n_labels, sigma_mm=20.0)
    even = image.as_tensor() / resample(field, Geometry.of(image)).as_tensor().clamp_min(0.1)
    values = even[0].numpy()[inside]
    histogram = Histogram.of(values)
    mixture = gaussian_em(histogram, n_labels, start=None, n_rounds=ROUNDS)
    best = mixture.responsibilities(histogram.centres).argmax(axis=1)
    width = histogram.centres[1] - histogram.centres[0]
    bins = np.clip(np.rint((values - histogram.centres[0]) / width), 0, len(best) - 1).astype(int)
    labels = np.zeros(inside.shape, dtype=np.uint8)
    labels[inside] = best[bins] + 1
    return labels


BASELINES: dict[str, Baseline] = {"k-means": kmeans, "EM with bias": em_with_bias}


def foreground(case: Case, image: MetaTensor, mask: MetaTensor | None) -> Mask:
    """Where a baseline works: the mask, else voxels above zero, else (CT) the reference's own extent."""
    if mask is not None:
        return np.asarray(mask.as_tensor()[0].numpy() > 0)
    voxels = image.as_tensor()[0].numpy()
    return np.asarray(voxels > 0) if float(voxels.min()) >= 0 else np.asarray(case.read_truth() > 0)


def run(part: Part, method: str, n_labels: int) -> Row:
    """One baseline on the scored scans of a part, with a mapping of its own for each scan."""
    costs, pairs = Costs(), []
    forget_peak_memory()
    for case in _scored(part):
        image, mask = load(case)
        inside = foreground(case, image, mask)
        low, high = np.percentile(image.as_tensor()[0].numpy()[inside], [0.5, 99.5])
        clipped = MetaTensor(image.as_tensor().clamp(float(low), float(high)), affine=image.affine)
        with costs.timed(costs.scans):
            labels = BASELINES[method](clipped, inside, n_labels)
        pairs.append([pair_of(case, labels, image, mask, part)])
    return _row(part, method, n_labels, pairs, costs)


def run_ants(part: Part, n_labels: int, python: Path, out: Path) -> list[Row]:
    """Atropos and N4 + Atropos on the scored scans, run by the Python that has antspyx."""
    cases = _scored(part)
    rows = []
    for method in ("Atropos", "N4 + Atropos"):
        costs, pairs = Costs(), []
        for case in cases:
            image, mask = load(case)
            given, inside, found = (out / "ants" / f"{case.name}_{n}.nii.gz" for n in ("image", "inside", "labels"))
            _save(image.as_tensor()[0].numpy(), image, given)
            _save(foreground(case, image, mask).astype(np.uint8), image, inside)
            command = [str(python), str(ANTS), str(given), str(inside), str(found), str(n_labels), method]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, peak = map(float, told.stdout.split()[-2:])
            costs.scans.append(seconds)
            costs.peak_gb = max(costs.peak_gb, peak)
            labels = np.asarray(nib.Nifti1Image.from_filename(found).dataobj).astype(np.uint8)
            pairs.append([pair_of(case, labels, image, mask, part)])
        rows.append(_row(part, method, n_labels, pairs, costs))
    return rows


def _scored(part: Part) -> list[Case]:
    return [case for _, scored in part.folds() for case in scored]


def _row(part: Part, method: str, n_labels: int, pairs: Sequence[Sequence[Pair]], costs: Costs) -> Row:
    scans = score(part, pairs, per_scan=True)
    return Row(part.name, method, f"each image alone, K={n_labels}", 0, n_labels, (), frozenset(), scans, costs)


def _save(voxels: npt.NDArray[np.generic], image: MetaTensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        nib.save(nib.Nifti1Image(voxels, Geometry.of(image).affine), temporary)
